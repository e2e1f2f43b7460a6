"""What runners and template workers give up, tried for real on this kernel."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from olmkit.engine.confinement import landlock, seccomp
from olmkit.engine.confinement.confining import available
from support import confined_program
from support.daemon import Daemon, running_daemon
from support.models import smollm2
from support.olm import olm, out

NETWORK = {"TCP socket", "UDP socket", "Unix socket", "socket of an earlier thread"}
FILES = {
    "add to the model",
    "cut the model",
    "move the model",
    "remove the model",
    "write to shared memory",
}
HAS_FILTERS = not seccomp.why_not()
HAS_LANDLOCK = landlock.interface_version() > 0


def tried(level: str, tmp_path: Path) -> dict[str, Any]:
    model, directory = tmp_path / "model", tmp_path / "prompts"
    model.write_bytes(b"GGUF")
    directory.mkdir()
    command = [sys.executable, confined_program.__file__, level, str(model), str(directory)]
    done = subprocess.run(command, capture_output=True, check=True)
    if level != "off" and HAS_LANDLOCK:
        assert model.read_bytes() == b"GGUF"
    return dict(json.loads(done.stdout))


def refused(report: dict[str, Any]) -> set[str]:
    return {name for name, end in report["came"].items() if end == "PermissionError"}


def test_a_confined_process_opens_no_socket_and_changes_no_model(tmp_path: Path) -> None:
    report = tried("full", tmp_path)
    wanted = (NETWORK | {"other program"} if HAS_FILTERS else set()) | (
        FILES if HAS_LANDLOCK else set()
    )
    assert refused(report) - {"signal to the parent"} == wanted
    assert len(report["missing"]) == (not HAS_FILTERS) + (not HAS_LANDLOCK)
    if landlock.interface_version() >= 6:
        assert "signal to the parent" in refused(report)
    for name in ("read the model", "write what prompts left", "write to a device"):
        assert report["came"][name] == "done"


def test_where_devices_of_other_machines_are_used_only_the_network_stays(tmp_path: Path) -> None:
    report = tried("network", tmp_path)
    assert not refused(report) & NETWORK
    assert refused(report) >= (FILES if HAS_LANDLOCK else set())


def test_what_is_turned_off_is_not_given_up(tmp_path: Path) -> None:
    report = tried("off", tmp_path)
    assert refused(report) == set()
    assert report["missing"] == ["confined: that is turned off"]


def status(process: psutil.Process) -> dict[str, str]:
    """What the kernel says of a process, by name; proc(5)."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def workers(daemon: Daemon) -> list[psutil.Process]:
    """The template workers of the daemon."""
    children = psutil.Process(daemon.process.pid).children()
    return [one for one in children if any("renderworker" in word for word in one.cmdline())]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("confined") / "home"


@pytest.mark.parametrize(("setting", "is_confined"), [("1", True), ("0", False)])
def test_runners_and_template_workers_are_confined_unless_that_is_turned_off(
    home: Path, setting: str, is_confined: bool
) -> None:
    with running_daemon(home, environ={"OLM_CONFINE": setting}) as daemon:
        olm(daemon.environ, "create", "m", "-f", "-", stdin=f"FROM {smollm2()}\n")
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": False}
        code, answer = daemon.request("POST", "/api/chat", body | {"options": {"num_predict": 2}})
        assert code == 200, answer
        for process in (*daemon.runners(), *workers(daemon)):
            facts = status(process)
            assert (facts["NoNewPrivs"] == "1") == is_confined
            assert (facts["Seccomp"] == "2") == (is_confined and HAS_FILTERS)
        (runner,) = daemon.runners()
        core = psutil.Process(runner.pid).rlimit(psutil.RLIMIT_CORE)
        assert (core == (0, 0)) >= is_confined
        shown = out(olm({**daemon.environ, "OLM_CONFINE": setting}, "info"))
        assert ("runners give up" in shown) == is_confined
        assert ("OLM_CONFINE is 0" in shown) != is_confined


def test_what_is_available_is_told_whole() -> None:
    found = available()
    assert len(found.missing) == (not HAS_FILTERS) + (not HAS_LANDLOCK)
    assert "core dumps" in found.text
