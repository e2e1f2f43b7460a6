"""Light commands are light: they import little."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from support.daemon import Daemon, running_daemon
from support.olm import environment

HEAVY = {
    *("rich", "httpx", "asyncio", "numpy", "pydantic", "prompt_toolkit", "msgspec", "lark"),
    *("jinja2", "starlette", "uvicorn", "llama_cpp", "ssl", "yaml", "tomllib", "wcwidth"),
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("startup") / "home") as running:
        yield running


def imports(environ: dict[str, str], *arguments: str) -> list[str]:
    """Modules that Python imports with these arguments."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        env=environment(environ),
        capture_output=True,
        check=True,
        text=True,
    )
    return [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()[1:]]


def imported(environ: dict[str, str], *words: str) -> set[str]:
    """Top-level modules that the command imports."""
    return {name.partition(".")[0] for name in imports(environ, "-m", "olmkit", *words)}


@pytest.mark.parametrize(
    "words", [["--version"], ["--help"], ["ls"], ["ps"], ["__complete", "models", ""]]
)
def test_light_commands_import_nothing_heavy(words: list[str], daemon: Daemon) -> None:
    assert imported(daemon.environ, *words) & HEAVY == set()


def test_the_interpreter_of_templates_is_imported_only_for_one(daemon: Daemon) -> None:
    interpreter = "olmkit.modelfile.gotemplate"
    words = ("-m", "olmkit", "ls")
    for flags in ((), ("--json",), ("--no-trunc",), ("--filter", "name=x"), ("-q",)):
        assert interpreter not in imports(daemon.environ, *words, *flags)
    assert interpreter in imports(daemon.environ, *words, "--format", "{{.Name}}")


def test_the_version_needs_no_command_tree(daemon: Daemon) -> None:
    assert "typer" not in imported(daemon.environ, "--version")
    assert "typer" not in imported(daemon.environ, "__complete", "models", "")


@pytest.mark.parametrize(("words", "limit"), [(["--version"], 2.5), (["ls"], 9.0)])
def test_light_commands_import_a_small_multiple_of_what_bare_python_does(
    words: list[str], limit: float, daemon: Daemon
) -> None:
    """Imports are what a start consists of; `benchmarks/startup.py` has the clock."""
    bare = imports({}, "-c", "pass")
    assert len(imports(daemon.environ, "-m", "olmkit", *words)) <= limit * len(bare)
