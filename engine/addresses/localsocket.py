"""Unix sockets of the daemon: the private door in its home, and the one that `OLM_HOST` names.

Any user of a machine can reach a port of loopback, and any can listen there. At the private door
the socket's mode and the peer's credentials tell both sides who the other one is.

Source: unix(7), SO_PEERCRED; proc_net_tcp in proc(5).
"""

import fcntl
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from olmkit.engine.addresses.address import MAX_SOCKET_PATH_BYTES, Address
from olmkit.engine.errors import AddressInUse, DaemonError

_CREDENTIALS: Final = struct.Struct("3i")
"""Process, user and group."""
_LISTENS: Final = "0A"
_PROBE_S: Final = 2.0
_NOBODY: Final = 65534
"""What the kernel shows for a user of another namespace."""


def socket_path(home: Path, address: Address) -> Path | None:
    """The private door of the daemon of this home and address; None: the path is too long.

    One that listens everywhere has that of loopback, where the clients on this machine seek it.
    """
    path = home / "run" / f"{address.connect_netloc.replace('/', '_')}.sock"
    return path if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES else None


def listen_locally(path: Path, backlog: int) -> socket.socket:
    """A socket that listens at the path, for its user alone; what was there goes.

    Raises:
        OSError: the path cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        path.unlink()
    return _bind(path, mode=0o600, backlog=backlog)


@contextmanager
def public_socket(path: Path, *, mode: int, backlog: int) -> Iterator[socket.socket]:
    """A socket that listens at the path, with that mode; the file goes with the block.

    A file that a killed daemon left behind is taken over; a lock beside it keeps two that start
    at once from taking it from each other.

    Raises:
        AddressInUse: somebody listens there.
        DaemonError: the file cannot be made, or another one is there that is no socket.
    """
    try:
        with _locked(path.with_name(path.name + ".lock")):
            _remove_stale(path)
            listener = _bind(path, mode=mode, backlog=backlog)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DaemonError(
            f"cannot listen at {path}: {reason}", hint="OLM_HOST sets the address"
        ) from error
    made = _identity(path)
    with listener:
        try:
            yield listener
        finally:
            # Another daemon may have its own there by now.
            if made is not None and _identity(path) == made:
                with suppress(OSError):
                    path.unlink()


def _bind(path: Path, *, mode: int, backlog: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        if mode != 0o600:
            path.chmod(mode)
        listener.listen(backlog)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Take away a socket on which nobody listens.

    Raises:
        AddressInUse: somebody does.
        DaemonError: it is no socket.
    """
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise DaemonError(
            f"cannot listen at {path}: there is a file, which is no socket",
            hint="OLM_HOST sets the address",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            holder = None  # somebody listens, with more waiting than the backlog takes
        else:
            holder = _holder(probe)
    raise AddressInUse(
        f"{path} is in use by {holder or 'another program'}",
        address=str(path),
        holder=holder,
        hint="stop it, or set OLM_HOST to another address",
    )


def _holder(connected: socket.socket) -> str | None:
    """`name (pid N)` of the program at the other end, if the system tells."""
    if sys.platform != "linux":
        return None
    import psutil

    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, _, _ = _CREDENTIALS.unpack(raw)
    try:
        return f"{psutil.Process(process).name()} (pid {process})"
    except (psutil.Error, ValueError):
        return None


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file; None: there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_trusted_peer(connected: socket.socket) -> bool:
    """Whether the other side of a Unix socket is this user or root; True where nobody tells."""
    if sys.platform != "linux":
        return True  # the socket's mode has to do
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(raw)
    return user in (0, os.geteuid())


def foreign_listener(port: int) -> int | None:
    """The user who listens on a port of this machine, if that is neither this one nor root."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except (OSError, ValueError):
            continue
        for fields in map(str.split, lines):
            if len(fields) > 7 and fields[3] == _LISTENS and fields[1].endswith(f":{port:04X}"):
                user = int(fields[7])
                if user not in (0, os.geteuid(), _NOBODY):
                    return user
    return None
