"""The bash script in a real bash; names of models from a real daemon."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.cli.app import COMMANDS
from support.daemon import Daemon, running_daemon
from support.models import smollm2
from support.olm import OLM, environment, olm, out

SCRIPT = Path(__file__).resolve().parents[2] / "completions" / "bash" / "olm"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("completion") / "home") as running:
        for name in ("small:v1", "small:v2", "other"):
            out(olm(running.environ, "create", name, "-f", "-", stdin=f"FROM {smollm2()}"))
        yield running


def completed(daemon: Daemon, line: str, cwd: Path | None = None) -> list[str]:
    """What bash offers where the line ends."""
    script = f"""
        source {SCRIPT}
        COMP_LINE={line!r} COMP_POINT={len(line)}
        _olm
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environ = environment(daemon.environ)
    environ["PATH"] = f"{Path(OLM).parent}:{environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env=environ, capture_output=True, check=True, text=True, cwd=cwd
    )
    assert done.stderr == ""
    return sorted(filter(None, done.stdout.split("\n")))


def test_commands_and_flags(daemon: Daemon) -> None:
    assert set(COMMANDS) <= set(completed(daemon, "olm "))
    assert completed(daemon, "olm pul") == ["pull"]
    assert completed(daemon, "olm ls --no") == ["--no-trunc"]
    assert completed(daemon, "olm ls --format ") == ["json", "table"]
    assert completed(daemon, "olm completion ") == ["bash", "fish", "zsh"]
    assert "create" in completed(daemon, "olm help c")


def test_names_of_models_also_behind_a_colon(daemon: Daemon) -> None:
    assert completed(daemon, "olm show ") == ["other:latest", "small:v1", "small:v2"]
    assert completed(daemon, "olm rm o") == ["other:latest"]
    assert completed(daemon, "olm rm -f small:") == ["v1", "v2"]
    assert completed(daemon, "olm cp small:v1 o") == ["other:latest"]
    assert completed(daemon, "olm stop ") == []


def test_run_completes_files_too(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "small.gguf").touch()
    assert completed(daemon, "olm run sm", tmp_path) == ["small.gguf", "small:v1", "small:v2"]
