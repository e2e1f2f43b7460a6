"""Starts the daemon in the background, once, whoever else tries at the same time."""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from olmkit.engine.addresses.localsocket import socket_path
from olmkit.engine.client import http1, replies
from olmkit.engine.client.clienttls import ClientTls
from olmkit.engine.errors import DaemonError, DaemonNotRunning, DaemonStartFailed
from olmkit.engine.settings import Settings

START_TIMEOUT_S: Final = 30.0
STATUS_TIMEOUT_S: Final = 3.0
MAX_STATUS_BYTES: Final = 64 * 1024
POLL_S: Final = 0.01


def start_daemon(settings: Settings) -> None:
    """Returns when a daemon answers at the settings' address, started here or by another shell.

    The daemon gets a session of its own, so that neither Ctrl-C nor the end of the shell ends
    it, and logs to `settings.log_file`.

    Raises:
        DaemonStartFailed: it ended, or did not answer in time; with its last word.
    """
    log_path = settings.log_file
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        log_path.parent.mkdir(mode=0o700, exist_ok=True)
        with _locked(settings.home / "start.lock"):
            if not answers(settings):
                _start(settings, log_path)
    except OSError as error:
        raise DaemonStartFailed(
            f"cannot start the daemon: {error.filename}: {(error.strerror or '').lower()}",
            log_path=str(log_path),
        ) from error


def answers(settings: Settings) -> bool:
    """Whether something at the settings' address answers a request for its version."""
    try:
        with http1.send(
            _connected(settings), "GET", "/api/version", headers={}, timeout_s=START_TIMEOUT_S
        ) as reply:
            return reply.status == 200
    except DaemonNotRunning:
        return False
    except DaemonError:
        return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _start(settings: Settings, log_path: Path) -> None:
    environ = {
        **os.environ,
        "OLM_HOME": str(settings.home),
        "OLM_MODELS": str(settings.models),
        **settings.path_variables,
    }
    if file := os.environ.get("OLM_CONFIG"):
        environ["OLM_CONFIG"] = os.path.abspath(file)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        log_start = os.fstat(log).st_size
        # The home directory, so that the shell's own stays free to be unmounted.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "olmkit", "serve"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=settings.home,
            env=environ,
            start_new_session=True,
        )
    finally:
        os.close(log)
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not answers(settings):
        if process.poll() is not None:
            last = _last_line(log_path, log_start) or f"exit status {process.returncode}"
            raise DaemonStartFailed(
                f"the daemon ended at its start: {last}",
                log_path=str(log_path),
                hint=f"its log is {log_path}",
            )
        if time.monotonic() > deadline_s:
            process.terminate()
            raise DaemonStartFailed(
                f"the daemon did not answer within {START_TIMEOUT_S:g} s",
                log_path=str(log_path),
                hint=f"its log is {log_path}",
            )
        time.sleep(POLL_S)
    # It outlives this process, which shall not be warned of a child left running.
    process.returncode = 0


def _last_line(log_path: Path, start: int) -> str:
    with open(log_path, "rb") as log:
        log.seek(max(start, log_path.stat().st_size - 4096))
        lines = log.read().decode("utf-8", "replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    errors = [line.removeprefix("Error: ") for line in said if line.startswith("Error: ")]
    return [*said, *errors][-1] if said else ""


def port_holder(port: int) -> str | None:
    """`name (pid N)` of the program that listens on a TCP port of this machine, if the system
    tells: of other users' programs it often does not. A daemon is `olm`, whatever runs it.
    """
    import psutil

    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if listens and connection.pid:
                holder = psutil.Process(connection.pid)
                name = "olm" if _is_daemon(holder.cmdline()) else holder.name()
                return f"{name} (pid {connection.pid})"
    except (psutil.Error, OSError):
        pass
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningDaemon:
    """A daemon on this machine, by its own account."""

    pid: int


def find_daemon(settings: Settings) -> RunningDaemon | None:
    """The daemon at the settings' address; those at other addresses do not count.

    It says itself which process it is. Of one that does not answer, the file tells that the last
    daemon of this home left, if that one had this address.
    """
    import psutil

    pid = _answering_pid(settings) or _recorded_pid(settings)
    if pid is None:
        return None
    try:
        # Another program may have got the number of a daemon that was killed.
        command = psutil.Process(pid).cmdline()
    except (ValueError, psutil.Error):
        return None
    return RunningDaemon(pid=pid) if _is_daemon(command) else None


def _is_daemon(command: list[str]) -> bool:
    """Whether a process with this command line is a daemon of olm."""
    return "serve" in command and any("olm" in Path(word).name for word in command)


def _connected(settings: Settings) -> http1.Connection:
    own_socket = socket_path(settings.home, settings.address)
    return http1.connect(
        settings.address,
        own_socket if settings.address.is_local else None,
        tls=ClientTls.of(settings),
    )


def _answering_pid(settings: Settings) -> int | None:
    try:
        with http1.send(
            _connected(settings), "GET", "/api/status", headers={}, timeout_s=STATUS_TIMEOUT_S
        ) as reply:
            return replies.daemon_status(replies.parse_object(reply.read(MAX_STATUS_BYTES))).pid
    except DaemonError:
        return None


def _recorded_pid(settings: Settings) -> int | None:
    try:
        value = json.loads(settings.daemon_file.read_bytes()[:4096])
        return int(value["pid"]) if value["address"] == settings.address.netloc else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stop_daemon(daemon: RunningDaemon, *, timeout_s: float) -> bool:
    """Asks the daemon to end and waits for it; whether it did in time."""
    import signal

    import psutil

    deadline_s = time.monotonic() + timeout_s
    try:
        process = psutil.Process(daemon.pid)
        process.send_signal(signal.SIGTERM)
        # An ended process may stay a zombie for as long as init likes.
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(2 * POLL_S)
    except psutil.NoSuchProcess:
        pass
    return True
