"""A daemon at a Unix socket: its file, its modes, curl and the command line over it."""

import json
import os
import socket
import stat
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from olmkit.engine.addresses.address import parse_address
from olmkit.engine.addresses.localsocket import public_socket
from olmkit.engine.client import Client
from olmkit.engine.errors import AddressInUse, DaemonError
from support.daemon import running_daemon, start_daemon, wait_until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "olm.sock"


def listening(path: Path, *, mode: int = 0o600) -> AbstractContextManager[socket.socket]:
    return public_socket(path, mode=mode, backlog=8)


def test_the_file_has_the_mode_that_is_set_and_goes_with_its_daemon(path: Path) -> None:
    with listening(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()
    with listening(path, mode=0o660):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_what_a_killed_daemon_left_is_taken_over(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    assert path.exists()
    with listening(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_that_somebody_listens_at_is_left_alone(path: Path) -> None:
    with listening(path):
        before = path.stat().st_ino
        with pytest.raises(AddressInUse) as caught, listening(path):
            pass
        assert caught.value.holder is not None
        assert caught.value.holder.endswith(f"(pid {os.getpid()})")
        assert path.stat().st_ino == before


def test_a_socket_with_a_full_backlog_is_in_use_too(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(AddressInUse), listening(path):
            pass


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_never_removed(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(DaemonError, match="which is no socket"), listening(path):
        pass
    assert os.path.lexists(path)


def test_the_file_of_a_successor_is_left_alone(path: Path) -> None:
    with listening(path):
        path.unlink()
        with listening(path):
            pass
        successor = socket.socket(socket.AF_UNIX)
        successor.bind(str(path))
    assert path.exists()
    successor.close()


def test_a_folder_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "olm.sock"
    with pytest.raises(DaemonError, match="no such file"), listening(missing):
        pass


def test_curl_and_clients_speak_with_a_daemon_at_a_socket(tmp_path: Path, path: Path) -> None:
    home = tmp_path / "home"
    environ = {"OLM_HOST": f"unix://{path}"}
    daemon = start_daemon(home, environ=environ)
    variables = os.environ | daemon.environ | environ
    try:
        address = parse_address(f"unix://{path}")
        _wait_for(path)
        curl = ("curl", "-sS", "--unix-socket", str(path), "http://localhost/api/version")
        assert "version" in json.loads(subprocess.check_output(curl))
        assert Client(address).models() == []
        facts = json.loads((home / "daemon.json").read_bytes())
        assert facts["address"] == str(path)
        shown = subprocess.run(
            (sys.executable, "-m", "olmkit", "version"),
            env=variables,
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"(unix://{path})" in shown.stdout
        assert "not running" not in shown.stdout

        second = start_daemon(tmp_path / "second", environ=environ)
        assert second.process.wait(60) != 0
        assert f"{path} is in use by" in second.log
    finally:
        assert daemon.stop() == 0
    assert not path.exists()


def test_a_command_starts_a_daemon_at_the_socket(tmp_path: Path, path: Path) -> None:
    environ = os.environ | {"OLM_HOST": f"unix://{path}", "OLM_HOME": str(tmp_path / "home")}
    olm = (sys.executable, "-m", "olmkit")
    try:
        subprocess.run((*olm, "ls"), env=environ, check=True, capture_output=True)
        assert stat.S_ISSOCK(path.stat().st_mode)
    finally:
        subprocess.run((*olm, "serve", "--stop"), env=environ, check=True)
    assert not path.exists()


def test_the_bounds_of_connections_hold_at_a_socket(tmp_path: Path, path: Path) -> None:
    """The limits of a TCP connection, over the socket: a head without end, and one too slow."""
    environ = {"OLM_HOST": f"unix://{path}", "OLM_STALL_TIMEOUT": "1"}
    daemon = start_daemon(tmp_path / "home", environ=environ)
    try:
        _wait_for(path)
        assert b"431" in _answer(path, b"GET / HTTP/1.1\r\n" + b"X: aaaaa\r\n" * 7_000)
        assert b"408" in _answer(path, b"GET / HTT")
        body = b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
        assert _answer(path, body) == b""  # closed
    finally:
        assert daemon.stop() == 0


def test_a_daemon_at_a_port_still_answers_at_its_private_door(tmp_path: Path) -> None:
    with running_daemon(tmp_path / "home") as daemon:
        door = daemon.home / "run" / f"{daemon.netloc}.sock"
        assert _answer(door, b"GET / HTTP/1.0\r\n\r\n").endswith(b"Ollama is running")


def _wait_for(path: Path) -> None:
    def answers() -> bool:
        try:
            return bool(_answer(path, b"GET / HTTP/1.0\r\n\r\n"))
        except OSError:
            return False

    wait_until(answers, timeout_s=60, what="an answer at the socket")


def _answer(path: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        client.sendall(request)
        pieces = []
        while piece := client.recv(65536):
            pieces.append(piece)
        return b"".join(pieces)
