"""`olm events`, `stats`, `logs`, `wait` and `ps --verbose` beside a daemon at work."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon, free_port, running_daemon, wait_until
from support.models import tiny_chat
from support.olm import OLM, environment, olm, out

SECRET = "xylophone"
HELLO = ("run", "m", f"Say {SECRET}.", "--set", "num_predict=4")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("watching") / "home") as running:
        out(olm(running.environ, "create", "m", "-f", "-", stdin=f"FROM {tiny_chat()}\n"))
        yield running


@contextmanager
def beside(environ: Mapping[str, str], *words: str) -> Iterator["subprocess.Popen[str]"]:
    """A command that goes on while the block runs."""
    process = subprocess.Popen(
        [OLM, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(environ),
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def followers(daemon: Daemon) -> int:
    """Requests that the daemon is answering, the question for their number aside."""
    text = daemon.request("GET", "/metrics")[1].decode()
    (line,) = re.findall(r"^olm_http_requests_in_progress (\d+)", text, re.MULTILINE)
    return int(line) - 1


def kept(daemon: Daemon, *words: str) -> list[dict[str, Any]]:
    words = ("events", "--since", "1h", "--no-follow", "--json", *words)
    return [json.loads(line) for line in out(olm(daemon.environ, *words)).splitlines()]


def ask(daemon: Daemon) -> None:
    """An answer, of whatever end."""
    assert olm(daemon.environ, *HELLO).returncode in (0, 9)


@pytest.mark.timeout(120)
def test_events_are_followed_until_an_interrupt(daemon: Daemon) -> None:
    with beside(daemon.environ, "events", "--json", "--filter", "action=tag") as events:
        assert events.stdout is not None
        wait_until(lambda: followers(daemon) == 1, timeout_s=60, what="the stream of events")
        out(olm(daemon.environ, "cp", "m", "copy"))
        assert json.loads(events.stdout.readline())["attributes"] == {"source": "m:latest"}
        events.send_signal(signal.SIGINT)
        assert events.wait(timeout=60) == 130
    out(olm(daemon.environ, "rm", "copy"))


def test_events_tell_of_models_and_requests_and_nothing_that_was_said(daemon: Daemon) -> None:
    ask(daemon)
    out(olm(daemon.environ, "stop", "m"))
    out(olm(daemon.environ, "wait", "m", "--for", "unloaded"))
    told = [(one["type"], one["action"]) for one in kept(daemon)]
    wanted = [("model", "create"), ("model", "load"), ("request", "end"), ("model", "unload")]
    assert [one for one in dict.fromkeys(told) if one in wanted] == wanted
    (unload, *_) = kept(daemon, "-f", "action=unload")
    assert (unload["model"], unload["attributes"]) == ("m:latest", {"cause": "asked"})
    request = kept(daemon, "-f", "type=request", "-f", "model=m")[0]["attributes"]
    assert (request["route"], request["status"]) == ("/api/generate", 200)
    assert request["completion_tokens"] in range(1, 5)
    assert SECRET not in json.dumps(kept(daemon))


@pytest.mark.parametrize("user", ["", "someone:hunter2@"])
def test_events_hold_no_secret_of_an_address(daemon: Daemon, user: str) -> None:
    place = f"127.0.0.1:{free_port()}/m.gguf"
    done = olm(daemon.environ, "pull", f"http://{user}{place}?X-Amz-Signature=hunter2")
    assert done.returncode != 0
    failed = kept(daemon, "-f", "action=pull_failed")[-1]
    assert failed["model"] == f"http://{place}"
    assert "hunter2" not in json.dumps(failed)


def test_a_runner_that_is_killed_is_an_event(daemon: Daemon) -> None:
    ask(daemon)
    (runner,) = daemon.runners()
    runner.kill()
    wait_until(lambda: kept(daemon, "-f", "action=die"), timeout_s=60, what="the event")
    died = kept(daemon, "-f", "action=die")[-1]["attributes"]
    assert (died["reason"], died["exit_status"]) == ("signalled", -9)


def test_filters_and_times_that_mean_nothing_are_refused(daemon: Daemon) -> None:
    done = olm(daemon.environ, "events", "--filter", "colour=red")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"the filters are type, action, model" in done.stderr
    done = olm(daemon.environ, "events", "--since", "yesterday")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"'yesterday' is no time" in done.stderr


def test_events_end_with_their_daemon(olm_home: Path) -> None:
    with (
        running_daemon(olm_home) as daemon,
        beside(daemon.environ, "events", "--since", "1h") as events,
    ):
        wait_until(lambda: followers(daemon) == 1, timeout_s=60, what="the stream of events")
        assert daemon.stop() == 0
        assert events.wait(timeout=60) == 5


def test_stats_count_what_a_runner_takes_and_does(daemon: Daemon) -> None:
    ask(daemon)
    (model,) = map(
        json.loads, out(olm(daemon.environ, "stats", "--no-stream", "--json")).split("\n")[:-1]
    )
    assert (model["name"], model["state"]) == ("m:latest", "ready")
    assert model["sequences"] == {"total": 4, "busy": 0, "contexts": 1, "short": 0}
    assert model["memory"] > 50e6
    assert model["completion_tokens"] in range(1, 5)
    assert model["cached_tokens"] > 0
    assert (model["cpu_percent"], model["tokens_per_second"]) == (pytest.approx(0, abs=50), 0)
    table = out(olm(daemon.environ, "stats", "--no-stream", "m")).splitlines()
    assert table[1].split()[:2] == ["m:latest", "ready"]
    assert out(olm(daemon.environ, "stats", "--no-stream", "--json", "other")) == ""


def test_ps_shows_sequences_and_cached_tokens(daemon: Daemon) -> None:
    ask(daemon)
    lines = out(olm(daemon.environ, "ps", "--verbose")).splitlines()
    assert lines[0].split()[-5:] == ["STATE", "BUSY", "CACHED", "DEVICES", "DRAWING"]
    assert " ready    0/4 " in lines[1]
    (model,) = map(json.loads, out(olm(daemon.environ, "ps", "--format", "json")).split("\n")[:-1])
    assert model["sequences"] == {"total": 4, "busy": 0, "contexts": 1, "short": 0}
    assert model["cached_tokens"] > 0
    assert model["drawing"].keys() == {"shortlist_from", "threads_from"}


@pytest.mark.timeout(120)
def test_wait_returns_when_the_model_is_loaded_and_when_it_is_gone(daemon: Daemon) -> None:
    out(olm(daemon.environ, "stop", "m"))
    out(olm(daemon.environ, "wait", "m", "--for", "unloaded"))
    done = olm(daemon.environ, "wait", "m", "--timeout", "0.3")
    assert done.returncode == 10
    with beside(daemon.environ, "wait", "m") as waiting:
        ask(daemon)
        assert waiting.wait(timeout=60) == 0
    assert olm(daemon.environ, "wait", "nosuch").returncode == 3


@pytest.mark.timeout(120)
def test_wait_knows_a_model_that_another_of_its_weights_has_loaded(daemon: Daemon) -> None:
    out(olm(daemon.environ, "create", "terse", "-f", "-", stdin="FROM m\nSYSTEM Be terse.\n"))
    ask(daemon)
    out(olm(daemon.environ, "wait", "terse", "m", "--timeout", "60s"))
    done = olm(daemon.environ, "wait", "terse", "--for", "unloaded", "--timeout", "0.3")
    assert done.returncode == 10
    out(olm(daemon.environ, "stop", "terse"))
    out(olm(daemon.environ, "wait", "m", "terse", "--for", "unloaded", "--timeout", "60s"))
    out(olm(daemon.environ, "rm", "terse"))


def test_without_a_daemon_nothing_is_loaded(olm_home: Path) -> None:
    environ = {"OLM_HOME": str(olm_home), "OLM_HOST": f"127.0.0.1:{free_port()}"}
    assert olm(environ, "wait", "m", "--for", "unloaded").returncode == 0
    for words in (("wait", "m"), ("events",), ("stats",)):
        assert olm(environ, *words).returncode == 5


@pytest.mark.timeout(120)
def test_the_log_of_a_daemon_in_the_background_is_read_and_followed(olm_home: Path) -> None:
    environ = {"OLM_HOME": str(olm_home), "OLM_HOST": f"127.0.0.1:{free_port()}"}
    done = olm(environ, "logs")
    assert done.returncode == 3
    assert b"there is no log at" in done.stderr
    try:
        out(olm(environ, "ls"))  # starts it
        (first,) = out(olm(environ, "logs", "--tail", "1", "--json")).splitlines()
        assert json.loads(first)["level"] == "INFO"
        assert out(olm(environ, "logs", "nosuch")) == ""
        with beside(environ, "logs", "-f") as follower:
            assert follower.stdout is not None
            assert "listening" in follower.stdout.readline()
            out(olm(environ, "serve", "--stop"))
            assert any("shutting down" in line for line in follower.stdout)
            follower.send_signal(signal.SIGINT)
            assert follower.wait(timeout=60) == 130
    finally:
        olm(environ, "serve", "--stop")
