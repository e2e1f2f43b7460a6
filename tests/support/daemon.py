"""A real daemon in a process of its own, with its own home and port.

    with running_daemon(tmp_path) as daemon:
        status, body = daemon.request("GET", "/api/version")

Leaving the block stops it with SIGTERM and fails the test when it does not end with status 0,
unless the test ended it itself.
"""

import http.client
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

COMMAND = (sys.executable, "-m", "olmkit", "serve")
CONTEXT_TOKENS = 2048
"""Where a test says nothing else: a longer cache takes time at each load. `OLM_CONTEXT_LENGTH=`
leaves it to the daemon, as users have it."""
READY_TIMEOUT_S = 30.0
_PORTS_OF_A_WORKER = 1500
STOP_TIMEOUT_S = 20.0


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now.

    Not one of those that the system gives to connections, and each worker of pytest-xdist has
    ports of its own: nobody takes it before the server that it is for does.
    """
    while True:
        with socket.socket() as probe, suppress(OSError):
            port = next(_PORTS)
            probe.bind(("127.0.0.1", port))
            return port


def _own_ports() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 12_000 + worker % 12 * _PORTS_OF_A_WORKER
    start = random.randrange(_PORTS_OF_A_WORKER)  # other runs of the tests may be on this machine
    for count in itertools.count(start):
        yield first + count % _PORTS_OF_A_WORKER


_PORTS = _own_ports()


@dataclass
class Daemon:
    """One daemon process; see the module."""

    process: "subprocess.Popen[bytes]"
    home: Path
    port: int
    log_path: Path

    @property
    def netloc(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.netloc}"

    @property
    def environ(self) -> dict[str, str]:
        """The variables that make a client find this daemon."""
        return {"OLM_HOST": self.netloc, "OLM_HOME": str(self.home)}

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def request(
        self, method: str, path: str, body: Any = None, *, timeout_s: float = 60
    ) -> tuple[int, bytes]:
        """Status and whole body of one request; `body` is sent as JSON unless it is bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    @contextmanager
    def stream(
        self, method: str, path: str, body: Any = None, *, timeout_s: float = 60
    ) -> Iterator[http.client.HTTPResponse]:
        """The response while it comes; leaving the block closes the connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json"})
            yield connection.getresponse()
        finally:
            connection.close()

    def runners(self) -> list[psutil.Process]:
        """The runner processes of this daemon that live now."""
        try:
            children = psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return []
        return [
            child for child in children if "olmkit.engine.runner.process.main" in _command(child)
        ]

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        deadline_s = time.monotonic() + timeout_s
        while True:
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended at its start:\n{self.log}")
            try:
                self.request("GET", "/api/version", timeout_s=timeout_s)
                return
            except OSError:
                assert time.monotonic() < deadline_s, f"no answer in time:\n{self.log}"
                time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Exit status of the daemon after a signal."""
        self.process.send_signal(number)
        return self.process.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)


def start_daemon(
    home: Path,
    *,
    port: int | None = None,
    environ: Mapping[str, str] | None = None,
    command: Sequence[str] = COMMAND,
) -> Daemon:
    """A daemon that was just started and may not answer yet."""
    port = port or free_port()
    home.mkdir(parents=True, exist_ok=True)
    log_path = home.parent / f"{home.name}-{port}.log"
    variables = os.environ | {
        "OLM_HOST": f"127.0.0.1:{port}",
        "OLM_HOME": str(home),
        "OLM_MODELS": str(home / "models"),
        "OLM_CONTEXT_LENGTH": str(CONTEXT_TOKENS),
        **(environ or {}),
    }
    with open(log_path, "ab") as log:
        process = subprocess.Popen(
            # Tests that were started by nohup would hand down that hangups are ignored.
            ("env", "--default-signal=HUP", *command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=variables,
        )
    return Daemon(process=process, home=home, port=port, log_path=log_path)


@contextmanager
def running_daemon(
    home: Path,
    *,
    port: int | None = None,
    environ: Mapping[str, str] | None = None,
    command: Sequence[str] = COMMAND,
) -> Iterator[Daemon]:
    """A daemon that answers."""
    daemon = start_daemon(home, port=port, environ=environ, command=command)
    try:
        daemon.wait_until_ready()
        yield daemon
        if daemon.process.poll() is None:
            status = daemon.stop()
            assert status == 0, f"exit status {status}:\n{daemon.log}"
    finally:
        if daemon.process.poll() is None:
            daemon.kill()


def wait_until(condition: "Any", *, timeout_s: float = 10.0, what: str = "the condition") -> None:
    """Return as soon as `condition()` is true; fail the test after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not come true in {timeout_s} s"
        time.sleep(0.01)


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
