"""Who listens at a port, and who is at the other end of a Unix socket: real users, real sockets."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from olmkit.engine.addresses.address import Address
from olmkit.engine.addresses.localsocket import (
    foreign_listener,
    is_trusted_peer,
    listen_locally,
    socket_path,
)
from olmkit.engine.client import Client
from olmkit.engine.errors import DaemonError

OTHER_USER = 54321


def test_a_path_that_is_too_long_is_none() -> None:
    assert socket_path(Path("/" + "a" * 120), Address()) is None
    assert socket_path(Path("/home/x/.olm"), Address()) is not None


def test_the_socket_is_private_from_its_first_moment(tmp_path: Path) -> None:
    path = tmp_path / "run" / "x.sock"
    path.parent.mkdir()
    path.write_text("what a killed daemon left")
    with listen_locally(path, 1) as listener:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            listener.setblocking(True)
            accepted, _ = listener.accept()
            with accepted:
                assert is_trusted_peer(accepted)
                assert is_trusted_peer(client)


@contextmanager
def listening_as(user: int) -> Iterator[int]:
    """The port of a process of that user; it has only a fork of this one to run."""
    with socket.create_server(("127.0.0.1", 0)) as own:
        port = own.getsockname()[1]
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            os.setuid(user)
            with socket.create_server(("127.0.0.1", port)):
                theirs.sendall(b"listening")
                theirs.recv(1)
        finally:
            os._exit(0)
    theirs.close()
    try:
        assert ours.recv(100) == b"listening"
        yield port
    finally:
        ours.close()
        os.waitpid(child, 0)


def test_who_listens_is_known_and_another_users_daemon_is_not_spoken_to() -> None:
    """Run by root, as CI does, the listener is another user's; else it is one's own."""
    user = OTHER_USER if os.geteuid() == 0 else os.geteuid()
    is_foreign = user != os.geteuid()
    with listening_as(user) as port:
        assert foreign_listener(port) == (user if is_foreign else None)
        client = Client(Address(port=port), may_be_foreign=False)
        if is_foreign:
            with pytest.raises(DaemonError, match="belongs to another user"):
                client.models()
        Client(Address(port=port))._dial().socket.close()  # who says OLM_HOST means it


def test_ones_own_listener_is_not_foreign() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert foreign_listener(server.getsockname()[1]) is None
