"""Light commands are light: what they import, and how long they take beside bare Python."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon, running_daemon
from support.olm import OLM, environment

HEAVY = {"rich", "httpx", "asyncio", "numpy", "pydantic", "prompt_toolkit", "msgspec", "lark"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("startup") / "home") as running:
        yield running


def imported(environ: dict[str, str], *words: str) -> set[str]:
    """Top-level modules that the command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "olmkit", *words],
        env=environment(environ),
        capture_output=True,
        check=True,
        text=True,
    )
    names = (line.rpartition("|")[2].strip() for line in done.stderr.splitlines())
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    "words", [["--version"], ["--help"], ["ls"], ["ps"], ["__complete", "models", ""]]
)
def test_light_commands_import_nothing_heavy(words: list[str], daemon: Daemon) -> None:
    assert imported(daemon.environ, *words) & HEAVY == set()


def test_the_version_needs_no_command_tree(daemon: Daemon) -> None:
    assert "typer" not in imported(daemon.environ, "--version")
    assert "typer" not in imported(daemon.environ, "__complete", "models", "")


@pytest.fixture
def compiled(daemon: Daemon, tmp_path: Path) -> dict[str, str]:
    """Variables under which modules are compiled once, as an installation does it."""
    environ = environment(daemon.environ) | {"PYTHONPYCACHEPREFIX": str(tmp_path)}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    return environ


def cpu_s(environ: dict[str, str], *command: str) -> float:
    """Processor time of one command: unlike the clock it ignores neighbours on the machine."""
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize(("words", "limit"), [(["--version"], 2.5), (["ls"], 9.0)])
def test_light_commands_cost_a_small_multiple_of_bare_python(
    words: list[str], limit: float, compiled: dict[str, str]
) -> None:
    python, command = [], []
    for _ in range(15):
        python.append(cpu_s(compiled, sys.executable, "-c", "pass"))
        command.append(cpu_s(compiled, OLM, *words))
    assert min(command) / min(python) <= limit
