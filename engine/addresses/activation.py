"""Sockets that a service manager has opened for the daemon, which it started when they were used.

Source: sd_listen_fds(3).
"""

import os
import socket
from collections.abc import MutableMapping
from typing import Final

FIRST: Final = 3
"""SD_LISTEN_FDS_START."""


def take_sockets(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The listening stream sockets that were passed to this process; empty for none.

    The variables that tell of them are removed, so that no child takes them for its own, and the
    descriptors are closed when a child is started.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    taken = []
    for descriptor in range(FIRST, FIRST + int(count)):
        os.set_inheritable(descriptor, False)
        passed = socket.socket(fileno=descriptor)
        if passed.type == socket.SOCK_STREAM:
            passed.setblocking(False)
            taken.append(passed)
        else:
            passed.close()
    return taken
