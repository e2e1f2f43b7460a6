"""Answers in Markdown on a real terminal, and off one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon, running_daemon
from support.models import smollm2
from support.olm import OLM, environment, olm, out
from support.terminal import on_terminal

ANSWER = "This is **bold**.\n\n```python\nx = 1\n```\n\n- last"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("markdown") / "home") as running:
        text = f"FROM {smollm2()}\nPARAMETER num_ctx 512\nPARAMETER temperature 0\n"
        out(olm(running.environ, "create", "m", "-f", "-", stdin=text))
        yield running


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A question whose answer can only be `ANSWER`."""
    grammar = tmp_path / "answer.regex"
    grammar.write_text(ANSWER.replace("*", r"\*").replace(".", r"\."))
    return ["run", "m", "--grammar", str(grammar), "Go on."]


@pytest.mark.parametrize("columns", [40, 100])
def test_it_is_drawn_on_a_terminal_where_it_is_asked_for(
    daemon: Daemon, words: list[str], columns: int
) -> None:
    command = [OLM, *words, "--markdown"]
    with on_terminal(command, environment(daemon.environ), columns=columns) as terminal:
        assert terminal.wait_for_end(60) == 0
        lines = [line for line in terminal.lines if line]
        assert lines == ["This is bold.", "x = 1", " • last"]
        assert b"\x1b[1mbold\x1b[0m" in terminal.raw


def test_the_setting_asks_for_it_and_a_flag_wins(daemon: Daemon, words: list[str]) -> None:
    environ = environment(daemon.environ | {"OLM_MARKDOWN": "1"})
    with on_terminal([OLM, *words], environ) as terminal:
        assert terminal.wait_for_end(60) == 0
        assert "This is bold." in terminal.text
    with on_terminal([OLM, *words, "--no-markdown"], environ) as terminal:
        assert terminal.wait_for_end(60) == 0
        assert "This is **bold**." in terminal.text


def test_a_dumb_terminal_and_a_pipe_get_what_was_written(daemon: Daemon, words: list[str]) -> None:
    environ = environment(daemon.environ | {"TERM": "dumb"})
    with on_terminal([OLM, *words, "--markdown"], environ) as terminal:
        assert terminal.wait_for_end(60) == 0
        assert "This is **bold**." in terminal.text
        assert b"\x1b" not in terminal.raw
    assert out(olm(daemon.environ, *words, "--markdown")) == f"{ANSWER}\n"


def test_a_chat_switches_it(daemon: Daemon) -> None:
    with on_terminal([OLM, "run", "m"], environment(daemon.environ), rows=50) as terminal:
        terminal.wait_for("Send a message")
        terminal.send("/set markdown\r")
        terminal.wait_for("Set 'markdown' mode.")
        terminal.send("/set nomarkdown\r")
        terminal.wait_for("Set 'nomarkdown' mode.")
        terminal.send("/bye\r")
        assert terminal.wait_for_end() == 0
