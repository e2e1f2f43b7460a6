"""Every command on a real pseudo-terminal and off one: it ends alike and leaves both clean."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.cli.app import COMMANDS
from support.daemon import Daemon, running_daemon
from support.models import minilm_gguf, smollm2
from support.olm import OLM, environment, olm, out
from support.terminal import on_terminal

SHORT = "PARAMETER num_ctx 512\nPARAMETER num_predict 4\nPARAMETER temperature 0\nSYSTEM Hi."
SUITE = 'models = ["m"]\n[[case]]\nname = "a"\nprompt = "hi"\nexpect.regex = "."\n'

WORDS: dict[str, tuple[str, ...]] = {
    "run": ("m", "hi"),
    "embed": ("e", "hi"),
    "rerank": ("e", "query", "document"),
    "replay": ("r.json",),
    "bench": ("e", "--rounds", "1", "--time", "60s"),
    "test": ("suite.toml",),
    "diff": ("m", "e"),
    "pull": ("oci-archive:m.tar",),
    "push": ("localhost:1/team/m",),
    "login": ("localhost:1", "-u", "ann", "-p", "x"),
    "logout": ("localhost:1",),
    "create": ("made", "-f", "Modelfile"),
    "show": ("m",),
    "plan": ("m",),
    "prompt": ("m", "hi"),
    "parse": ("m", "answer.txt"),
    "cp": ("m", "copied"),
    "rm": ("-f", "absent"),
    "tag": ("m", "tagged"),
    "inspect": ("m", "absent"),
    "history": ("m",),
    "save": ("m", "-o", "again.tar"),
    "load": ("m.tar",),
    "lock": ("m",),
    "verify": ("e",),
    "cache": ("du",),
    "system": ("df", "-v"),
    "stop": ("m",),
    "key": ("list",),
    "config": ("list",),
    "serve": ("--host", "nonsense://x"),
    "launch": ("codex", "--model", "m", "--config-only"),
    "service": ("install", "--dry-run"),
    "export": ("m", "--to", "compose"),
    "completion": ("fish",),
    "help": ("run",),
    "events": ("--no-follow",),
    "stats": ("--no-stream",),
    "wait": ("m", "--timeout", "1"),
}
"""What each command is given; nothing where it is not here."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("terminals") / "home") as running:
        for name, text in (("m", f"FROM {smollm2()}\n{SHORT}"), ("e", f"FROM {minilm_gguf()}")):
            out(olm(running.environ, "create", name, "-f", "-", stdin=text))
        yield running


@pytest.fixture(scope="module")
def folder(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("folder")
    (made / "Modelfile").write_text("FROM m\nSYSTEM Made.\n")
    (made / "answer.txt").write_text("Hello.")
    (made / "suite.toml").write_text(SUITE)
    out(olm(daemon.environ, "run", "m", "hi", "--record", "r.json", cwd=made))
    out(olm(daemon.environ, "save", "m", "-q", "-o", "m.tar", cwd=made))
    return made


@pytest.fixture
def environ(daemon: Daemon, tmp_path: Path) -> dict[str, str]:
    """With a home of its own for what others' programs keep."""
    return {**daemon.environ, "HOME": str(tmp_path), "CODEX_HOME": str(tmp_path / "codex")}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_ends_alike_on_a_terminal_and_off_one(
    name: str, environ: dict[str, str], folder: Path
) -> None:
    words = (name, *WORDS.get(name, ()))
    off = olm(environ, *words, cwd=folder)
    for stream in (off.stdout, off.stderr):
        assert b"\x1b" not in stream, "escape codes are for terminals"
        assert b"Traceback" not in stream
    command = ["sh", "-c", 'cd "$0" && exec "$@"', str(folder), OLM, *words]
    with on_terminal(command, environment(environ), columns=60) as terminal:
        assert terminal.wait_for_end(120) == off.returncode
        assert b"Traceback" not in terminal.raw
        last = re.findall(rb"\x1b\[\?25[hl]", terminal.raw)[-1:]
        assert last in ([], [b"\x1b[?25h"]), "the cursor stays hidden"


def test_no_command_is_left_out() -> None:
    assert set(WORDS) <= set(COMMANDS)
