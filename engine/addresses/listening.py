"""The daemon's address: a listening socket, and the mark that tells others who serves it."""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from olmkit.engine.addresses.activation import take_sockets
from olmkit.engine.addresses.address import Address
from olmkit.engine.addresses.localsocket import public_socket
from olmkit.engine.client.launch import port_holder
from olmkit.engine.errors import AddressInUse, DaemonError
from olmkit.engine.settings import Settings

BACKLOG: Final = 1024
PREDECESSOR_TIMEOUT_S: Final = 30.0
"""How long a daemon that is shutting down may take to free the models it had loaded."""


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """A socket that listens at the settings' address; see `listen` and `public_socket`.

    Where a service manager has opened one, that is taken.

    Raises:
        AddressInUse, DaemonError: as they do.
    """
    address = settings.address
    if passed := take_sockets():
        with passed[0]:
            yield passed[0]
    elif address.is_unix:
        with public_socket(
            Path(address.path), mode=settings.socket_mode, backlog=BACKLOG
        ) as listener:
            yield listener
    else:
        with listen(address) as listener:
            yield listener


def bound_address(address: Address, listener: socket.socket) -> Address:
    """What the socket listens at: `address` with its port, or where a service manager opened it.

    A name that was asked for stays a name, but a socket that other machines reach is never called
    one of loopback.
    """
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return address if address.is_unix else Address(scheme="unix", path=os.fsdecode(name))
    scheme = "http" if address.is_unix else address.scheme
    found = Address(scheme=scheme, host=name[0], port=name[1])
    if address.is_unix or (address.is_loopback and not found.is_loopback):
        return found
    return replace(address, port=found.port)


def listen(address: Address) -> socket.socket:
    """A socket that listens at the TCP address; an empty host means every interface.

    Connections are taken up by the kernel from now on, and wait.

    Raises:
        AddressInUse: names the program that holds the port, if the system tells.
        DaemonError: the address is none of this machine's, or not allowed.
    """
    try:
        family, _, _, _, target = _resolve(address)
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a host name that is none is the latter
        raise _cannot_listen(address, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if not address.host else 1
            )
        listener.bind(target)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise _cannot_listen(address, error) from error
    return listener


_AddressInfo = tuple[
    int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
]


def _resolve(address: Address) -> _AddressInfo:
    """The address to bind; IPv4 first where a name has both, as `localhost` often does."""
    if not address.host and socket.has_dualstack_ipv6():
        return (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::", address.port))
    found = socket.getaddrinfo(
        address.host or "0.0.0.0", address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return min(found, key=lambda info: info[0] != socket.AF_INET)


def _cannot_listen(address: Address, error: OSError | UnicodeError) -> DaemonError:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        holder = port_holder(address.port)
        return AddressInUse(
            f"{address.netloc} is in use by {holder or 'another program'}",
            address=address.netloc,
            holder=holder,
            hint="stop it, or set OLM_HOST to another address",
        )
    reason = (getattr(error, "strerror", None) or str(error)).lower()
    return DaemonError(
        f"cannot listen at {address.netloc}: {reason}", hint="OLM_HOST sets the address"
    )


@contextmanager
def announced(home: Path, address: Address) -> Iterator[None]:
    """Says in `home/daemon.json` who serves the address, for as long as it lasts.

    Waits for a predecessor at the same address that no longer listens but still frees its
    models: two of them would not fit. A file that a killed daemon left behind is overwritten.

    Raises:
        DaemonError: the home cannot be written, or the predecessor does not end.
    """
    file = home / "daemon.json"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _only_one(home / "run" / f"{address.netloc.replace('/', '_')}.lock", address):
            _write(file, address)
            try:
                yield
            finally:
                _remove(file)
    except OSError as error:
        raise DaemonError(f"{error.filename or home}: {(error.strerror or '').lower()}") from error


def tell_supervisor(state: str) -> None:
    """Tell systemd, when it asked to be told (`Type=notify`): `READY=1`, `STOPPING=1`.

    Source: sd_notify(3).
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier, suppress(OSError):
        notifier.connect("\0" + path[1:] if path.startswith("@") else path)
        notifier.send(state.encode("ascii"))


@contextmanager
def _only_one(path: Path, address: Address) -> Iterator[None]:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline_s = time.monotonic() + PREDECESSOR_TIMEOUT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise DaemonError(
                        f"the daemon that served {address.netloc} before does not end"
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(lock)


def _write(file: Path, address: Address) -> None:
    started_at = datetime.now().astimezone().isoformat(timespec="seconds")
    facts = {"pid": os.getpid(), "address": address.netloc, "started_at": started_at}
    temporary = file.with_name(f".daemon.json.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(facts) + "\n", encoding="ascii")
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _remove(file: Path) -> None:
    """Take the file away, unless another daemon of this home has written it since."""
    try:
        if json.loads(file.read_bytes()[:4096])["pid"] == os.getpid():
            file.unlink()
    except (OSError, ValueError, KeyError, TypeError):
        pass
