"""From bind to exit, with real processes, sockets and signals."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from support import daemon_program
from support.daemon import Daemon, running_daemon, start_daemon, wait_until
from support.models import tiny_chat

MAX_IDLE_RSS_BYTES = 60_000_000


@contextmanager
def small_daemon(home: Path, *, drain_s: float = 1.5, **options: int) -> Iterator[Daemon]:
    """`daemon_program`: olm's daemon with a few test routes for an API."""
    environ = {"PYTHONPATH": str(Path(daemon_program.__file__).parents[1])}
    command = (*daemon_program.COMMAND, str(drain_s))
    with running_daemon(home, command=command, environ=environ, **options) as daemon:
        yield daemon


def only_the_lock_is_left(home: Path) -> bool:
    return {path.parent.name for path in home.rglob("*") if path.is_file()} <= {"run"}


# --- olm's own daemon -----------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon_with_status_0_and_nothing_left(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running_daemon(tmp_path / "home") as daemon:
        status, body = daemon.request("GET", "/api/version")
        assert status == 200
        assert "version" in json.loads(body)
        facts = json.loads((daemon.home / "daemon.json").read_bytes())
        assert facts["pid"] == daemon.process.pid
        assert facts["address"] == daemon.netloc
        assert facts["started_at"]
        assert daemon.stop(number) == 0
        assert only_the_lock_is_left(daemon.home)


def test_an_idle_daemon_takes_little_memory_and_has_no_children(tmp_path: Path) -> None:
    with running_daemon(tmp_path / "home") as daemon:
        daemon.request("GET", "/api/tags")
        daemon.request("GET", "/api/ps")
        process = psutil.Process(daemon.process.pid)
        assert process.memory_info().rss < MAX_IDLE_RSS_BYTES
        assert process.children() == []


def test_the_daemon_starts_without_what_only_some_requests_need() -> None:
    code = "import sys, olmkit.engine.daemon, olmkit.engine.api.application; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    heavy = {"llama_cpp", "numpy", "jinja2", "httpx", "gguf", "lark", "psutil", "typer", "rich"}
    assert not heavy & set(loaded)


def test_a_second_daemon_is_told_who_holds_the_address(tmp_path: Path) -> None:
    with running_daemon(tmp_path / "home") as daemon:
        second = start_daemon(tmp_path / "other", port=daemon.port)
        assert second.process.wait(20) != 0
        assert f"{daemon.netloc} is in use by" in second.log
        assert f"(pid {daemon.process.pid})" in second.log
        assert "Traceback" not in second.log
        assert daemon.request("GET", "/api/version")[0] == 200
        assert (daemon.home / "daemon.json").exists()


def test_another_program_on_the_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        daemon = start_daemon(tmp_path / "home", port=port)
        assert daemon.process.wait(20) != 0
    assert f"127.0.0.1:{port} is in use by" in daemon.log
    assert f"(pid {os.getpid()})" in daemon.log
    assert "Traceback" not in daemon.log
    assert not (tmp_path / "home" / "daemon.json").exists()


def test_what_a_killed_daemon_left_is_no_obstacle(tmp_path: Path) -> None:
    with running_daemon(tmp_path / "home") as daemon:
        daemon.kill()
        assert (daemon.home / "daemon.json").exists()
        with running_daemon(tmp_path / "home", port=daemon.port) as successor:
            facts = json.loads((successor.home / "daemon.json").read_bytes())
            assert facts["pid"] == successor.process.pid
    assert only_the_lock_is_left(tmp_path / "home")


def test_a_home_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    daemon = start_daemon(tmp_path / "home", environ={"OLM_HOME": str(tmp_path / "file" / "home")})
    assert daemon.process.wait(20) != 0
    assert "not a directory" in daemon.log
    assert "Traceback" not in daemon.log


def test_settings_that_were_not_understood_are_logged(tmp_path: Path) -> None:
    with running_daemon(tmp_path / "home", environ={"OLM_MAX_QUEUE": "many"}) as daemon:
        assert "OLM_MAX_QUEUE='many' is no whole number" in daemon.log


def test_a_supervisor_is_told_when_the_daemon_is_ready_and_when_it_stops(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(path))
        supervisor.settimeout(10)
        with running_daemon(tmp_path / "home", environ={"NOTIFY_SOCKET": str(path)}) as daemon:
            assert supervisor.recv(100) == b"READY=1"
            daemon.process.send_signal(signal.SIGTERM)
            assert supervisor.recv(100) == b"STOPPING=1"
            assert daemon.process.wait(10) == 0


# --- the daemon's life around a few test routes ---------------------------------------------


def test_a_shutdown_waits_for_nothing_where_nothing_is_under_way(tmp_path: Path) -> None:
    with small_daemon(tmp_path / "home", drain_s=3600) as daemon:
        assert daemon.request("GET", "/slow?0")[0] == 200
        assert daemon.stop() == 0


def test_an_answer_under_way_may_end_at_a_shutdown(tmp_path: Path) -> None:
    with small_daemon(tmp_path / "home") as daemon, daemon.stream("GET", "/slow?0.5") as answer:
        daemon.process.send_signal(signal.SIGTERM)
        assert answer.read() == b"done\n"
        assert daemon.process.wait(10) == 0


def test_an_answer_without_end_is_cut_and_the_status_is_still_0(tmp_path: Path) -> None:
    with small_daemon(tmp_path / "home") as daemon, daemon.stream("GET", "/stream") as answer:
        assert answer.readline() == b"line\n"
        daemon.process.send_signal(signal.SIGTERM)
        lines = 0
        with suppress(http.client.IncompleteRead):
            while answer.readline() == b"line\n":
                lines += 1
        assert lines >= 10  # it goes on for a while, with a line every 20 ms
        assert daemon.process.wait(10) == 0


def test_a_generation_under_way_ends_with_an_error_and_its_runner(tmp_path: Path) -> None:
    with (
        small_daemon(tmp_path / "home") as daemon,
        daemon.stream("GET", f"/lease?{tiny_chat()}") as answer,
    ):
        assert answer.readline()
        (runner,) = daemon.runners()
        daemon.process.send_signal(signal.SIGTERM)
        assert answer.read().splitlines()[-2:] == [b"error: Cancelled", b"done"]
        assert daemon.process.wait(10) == 0
        assert not runner.is_running()


def test_a_second_signal_ends_the_daemon_at_once_by_that_signal(tmp_path: Path) -> None:
    with (
        small_daemon(tmp_path / "home", drain_s=3600) as daemon,
        daemon.stream("GET", f"/lease?{tiny_chat()}") as answer,
    ):
        assert answer.readline()
        (runner,) = daemon.runners()
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "shutting down" in daemon.log)
        assert daemon.stop(signal.SIGINT) == -signal.SIGINT
        runner.wait(5)
        assert not (daemon.home / "daemon.json").exists()


def test_no_runner_outlives_a_killed_daemon(tmp_path: Path) -> None:
    with (
        small_daemon(tmp_path / "home") as daemon,
        daemon.stream("GET", f"/lease?{tiny_chat()}") as answer,
    ):
        assert answer.readline()
        (runner,) = daemon.runners()
        daemon.kill()
        runner.wait(5)


def test_the_daemon_outlives_a_killed_runner(tmp_path: Path) -> None:
    with small_daemon(tmp_path / "home") as daemon:
        with daemon.stream("GET", f"/lease?{tiny_chat()}") as answer:
            assert answer.readline()
            (runner,) = daemon.runners()
            runner.kill()
            assert answer.read().splitlines()[-2:] == [b"error: RunnerDied", b"done"]
        with daemon.stream("GET", f"/lease?{tiny_chat()}") as answer:
            assert answer.readline() != b"error: RunnerDied\n"
            assert daemon.runners()[0].pid != runner.pid


def test_a_successor_waits_until_its_predecessor_has_ended(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with small_daemon(home) as daemon, daemon.stream("GET", "/stream") as answer:
        assert answer.readline()
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not _listens(daemon.port), what="the end of accepting")
        with small_daemon(home, port=daemon.port) as successor:
            assert daemon.process.wait(5) == 0
            facts = json.loads((home / "daemon.json").read_bytes())
            assert facts["pid"] == successor.process.pid


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_origin_that_is_none_ends_the_start_by_name(tmp_path: Path) -> None:
    origins = "https://good.example, bad.example"
    daemon = start_daemon(tmp_path / "home", environ={"OLM_ORIGINS": origins})
    assert daemon.process.wait(60) == 2
    assert "'bad.example' in OLM_ORIGINS is no origin" in daemon.log
    assert not (tmp_path / "home" / "daemon.json").exists()
