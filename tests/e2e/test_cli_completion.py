"""The tabulator in real bash, zsh and fish, a shell each for all that is typed."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from olmkit.cli.chat.sessionfile import KeptSession, SessionFile
from olmkit.registry.shortnames import BUILT_IN_MODELFILES
from support.daemon import Daemon, running_daemon
from support.models import smollm2
from support.olm import OLM, environment, olm, out
from support.terminal import OnTerminal, on_terminal

COMPLETIONS = Path(__file__).resolve().parents[2] / "completions"
BEGIN = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        "bind 'set show-all-if-ambiguous on' 'set page-completions off' "
        "'set completion-query-items 0' 'set bell-style none'; "
        f"source {COMPLETIONS}/bash/olm; PS1='READY$ '",
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        "autoload -Uz compinit; compinit -u -D; LISTMAX=9999; unsetopt beep list_ambiguous; "
        f"source {COMPLETIONS}/zsh/_olm; PS1='READY$ '",
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        f"source {COMPLETIONS}/fish/olm.fish; function fish_prompt; echo -n 'READY$ '; end",
    ),
}
"""The program of each shell, and what makes it complete `olm`."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("completion") / "home") as running:
        for name in ("small:v1", "small:v2", "other"):
            out(olm(running.environ, "create", name, "-f", "-", stdin=f"FROM {smollm2()}"))
        out(olm(running.environ, "key", "create", "robot"))
        kept = KeptSession(model="other", system=None, options={}, turns=())
        SessionFile(running.home, "holiday").write(kept)
        yield running


class Shell:
    """One shell, in a directory with the files `suite.toml` and `unrelated.txt`."""

    def __init__(self, name: str, terminal: OnTerminal) -> None:
        self.name = name
        self._terminal = terminal

    def begin(self, setup: str) -> None:
        self._terminal.send(setup + "\r")
        self._terminal.wait_for(lambda text: bool(re.search(r"^READY\$ *$", text, re.M)), 60)
        self._terminal.send("\x0c")
        self._terminal.wait_for(lambda text: text.strip() == "READY$")

    def offers(self, line: str, *wanted: str) -> str:
        """Types the line and the tabulator until all that is wanted is shown; returns the screen,
        and leaves it empty."""
        self._terminal.send(f"{line}\t")
        self._terminal.wait_for(lambda text: all(word in text for word in wanted))
        said = self._terminal.text
        self._terminal.send("\x15\x0c")
        self._terminal.wait_for(lambda text: text.strip() == "READY$")
        return said


@contextmanager
def shell(name: str, daemon: Daemon, folder: Path) -> Iterator[Shell]:
    command, setup = BEGIN[name]
    program = shutil.which(command[0])
    assert program, f"{command[0]} is missing: .ci/setup installs it"
    for file in ("suite.toml", "unrelated.txt"):
        (folder / file).touch()
    environ = environment(daemon.environ)
    environ["PATH"] = f"{Path(OLM).parent}:{environ['PATH']}"
    environ |= {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with on_terminal([program, *command[1:]], environ, columns=200, rows=60) as terminal:
        one = Shell(name, terminal)
        one.begin(f"cd {folder}; {setup}")
        yield one


@pytest.mark.parametrize("name", BEGIN)
def test_the_tabulator(name: str, daemon: Daemon, tmp_path: Path) -> None:
    with shell(name, daemon, tmp_path) as typed:
        # Commands, flags and words of flags.
        typed.offers("olm pul", "pull")
        assert "replay" not in typed.offers("olm s", "session", "system", "stop", "serve")
        typed.offers("olm ls --no", "--no-trunc")
        typed.offers("olm ls --format ", "json", "table")
        typed.offers("olm key create --scope ", "infer", "read", "manage")
        typed.offers("olm help comp", "completion")
        # Names of models and their tags, behind flags and their values too.
        assert "demo" not in typed.offers("olm show ", "other:latest", "small:v1", "small:v2")
        assert "other" not in typed.offers("olm rm -f small:", "v1", "v2")
        typed.offers("olm run --seed 1 o", "other:latest")
        typed.offers("olm cp small:v1 o", "other:latest")
        typed.offers("olm test --model o", "other:latest")
        assert set(BUILT_IN_MODELFILES) == {"demo"}
        typed.offers("olm pull de", "demo")
        # Names of parameters, sessions, keys, settings, quantizations.
        typed.offers("olm run other --set temp", "temperature=")
        typed.offers("olm run other --session ", "holiday")
        typed.offers("olm session rm ", "holiday")
        typed.offers("olm key revoke ", "robot")
        typed.offers("olm config get keep", "keep_alive")
        typed.offers("olm config set keep", "keep_alive")
        typed.offers("olm create x -q Q4_K", "Q4_K_M", "Q4_K_S")
        typed.offers("olm session ", "ls", "rm")
        # Files where files go.
        typed.offers("olm test su", "suite.toml")
        typed.offers("olm run other --schema un", "unrelated.txt")


def test_names_are_known_without_a_daemon(daemon: Daemon, olm_home: Path) -> None:
    models = str(daemon.home / "models")
    environ = {"OLM_HOME": str(olm_home), "OLM_HOST": "127.0.0.1:1", "OLM_MODELS": models}
    listed = out(olm(environ, "__complete", "models", "small"))
    assert listed.split() == ["small:v1", "small:v2"]
    far = {**environ, "OLM_HOST": "nowhere.invalid:1"}
    assert out(olm(far, "__complete", "models", "")) == ""
