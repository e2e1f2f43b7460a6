"""Raw connections to a daemon, and the watch over what they do to it."""

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support import watched_program
from support.daemon import Daemon, running_daemon


@contextmanager
def connected(daemon: Daemon, timeout_s: float = 30.0) -> Iterator[socket.socket]:
    """A bare connection to the daemon."""
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=timeout_s) as connection:
        yield connection


def send_until_refused(connection: socket.socket, block: bytes, limit_bytes: int) -> int:
    """Send `block` again and again until the daemon ends the connection; how much was taken."""
    sent_bytes = 0
    try:
        while sent_bytes < limit_bytes:
            connection.sendall(block)
            sent_bytes += len(block)
    except OSError:
        pass
    return sent_bytes


def read_rest(connection: socket.socket) -> bytes:
    """All that the daemon sends until it closes; what a reset cuts off is missing."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            data += piece
    return data


@contextmanager
def watched_daemon(home: Path, **environ: str) -> Iterator[Daemon]:
    """A daemon that knows how long its event loop stood still."""
    variables = {"PYTHONPATH": str(Path(watched_program.__file__).parents[1]), **environ}
    with running_daemon(home, command=watched_program.COMMAND, environ=variables) as daemon:
        daemon.request("GET", "/watch")
        yield daemon


def longest_pause_s(daemon: Daemon) -> float:
    """The longest pause of the loop since this was asked the last time."""
    return float(json.loads(daemon.request("GET", "/watch")[1])["longest_s"])


_WITNESS = """
import http.client, json, sys, threading, time
port, over, slowest_s, failures = int(sys.argv[1]), threading.Event(), 0.0, []
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
while not over.is_set():
    began_s = time.monotonic()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/api/version")
        if (status := connection.getresponse().status) != 200:
            failures.append(f"status {status}")
        connection.close()
    except OSError as error:
        failures.append(repr(error))
    slowest_s = max(slowest_s, time.monotonic() - began_s)
    over.wait(0.02)
print(json.dumps([slowest_s, failures]))
"""


@dataclass
class Witness:
    """Somebody else's requests during an attack; known once it is over."""

    slowest_s: float = 0.0
    failures: list[str] = field(default_factory=list)


@contextmanager
def witness(daemon: Daemon) -> Iterator[Witness]:
    """Asks for the version all the time, in a process of its own."""
    seen = Witness()
    with subprocess.Popen(
        [sys.executable, "-c", _WITNESS, str(daemon.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as asking:
        try:
            yield seen
        finally:
            told, _ = asking.communicate(b"")
            seen.slowest_s, seen.failures = json.loads(told)
