"""The daemon's second door: a Unix socket in its home, for its own user alone.

Any user of a machine can reach a port of loopback, and any can listen there. The socket's mode and
the peer's credentials tell both sides who the other one is.

Source: unix(7), SO_PEERCRED; proc_net_tcp in proc(5).
"""

import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_CREDENTIALS: Final = struct.Struct("3i")
"""Process, user and group."""
_MAX_PATH_BYTES: Final = 107
"""Of a socket's path."""
_LISTENS: Final = "0A"
_NOBODY: Final = 65534
"""What the kernel shows for a user of another namespace."""


def socket_path(home: Path, netloc: str) -> Path | None:
    """Where the daemon of this home and address has its socket; None: the path is too long."""
    path = home / "run" / f"{netloc.replace('/', '_')}.sock"
    return path if len(os.fsencode(path)) <= _MAX_PATH_BYTES else None


def listen_locally(path: Path, backlog: int) -> socket.socket:
    """A socket that listens at the path, for its user alone; what was there goes.

    Raises:
        OSError: the path cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(backlog)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


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
