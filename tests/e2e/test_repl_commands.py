"""Commands of a chat that work on what was said: asked again, taken back, counted, exported."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.daemon import Daemon, running_daemon
from support.models import smollm2
from support.olm import OLM, environment, olm, out
from support.terminal import OnTerminal, on_terminal

PLACEHOLDER = "Send a message (/? for help)"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with `m` and `n`, of the same weights, whose answers have eight tokens at most."""
    with running_daemon(tmp_path_factory.mktemp("chats") / "home") as running:
        text = f"FROM {smollm2()}\nPARAMETER temperature 0\nPARAMETER num_ctx 1024\n"
        for name in ("m", "n"):
            out(
                olm(
                    running.environ,
                    *("create", name, "-f", "-"),
                    stdin=f"{text}PARAMETER num_predict 8\n",
                )
            )
        yield running


@contextmanager
def chat(daemon: Daemon, *words: str) -> Iterator[OnTerminal]:
    """A chat that waits for its first message."""
    environ = environment(daemon.environ)
    with on_terminal([OLM, "run", *words], environ, columns=200, rows=50) as terminal:
        terminal.wait_for(PLACEHOLDER)
        yield terminal


def prompts(text: str) -> int:
    return sum(line.startswith(">>>") for line in text.split("\n"))


def say(terminal: OnTerminal, text: str) -> str:
    """Types a line and waits for the next prompt; returns what came in between."""
    before = prompts(terminal.text)
    terminal.send(text + "\r")
    terminal.wait_for(lambda shown: prompts(shown) > before and shown.endswith(PLACEHOLDER), 60)
    return terminal.text.split("\n>>>")[-2].partition("\n")[2].strip()


def leave(terminal: OnTerminal) -> None:
    terminal.send("/bye\r")
    assert terminal.wait_for_end() == 0


def test_a_question_is_asked_again_and_taken_back(daemon: Daemon, tmp_path: Path) -> None:
    with chat(daemon, "m") as terminal:
        assert say(terminal, "/retry") == "There is no question to ask again."
        assert say(terminal, "/undo") == "There is nothing to take back."
        assert say(terminal, "/tokens") == "Nothing was said yet."
        assert say(terminal, "/stats") == "Nothing was answered yet."
        first = say(terminal, "Say one.")
        assert say(terminal, "/retry") == first
        say(terminal, "Say two.")
        assert say(terminal, "/undo") == "Forgot the question and its answer: Say two."
        file = tmp_path / "chat.json"
        assert say(terminal, f"/export {file}") == f"Wrote {file}"
        messages = json.loads(file.read_text())["messages"]
        assert [message["role"] for message in messages] == ["user", "assistant"]
        assert messages[0]["content"] == "Say one."
        assert file.stat().st_mode & 0o777 == 0o600
        assert "is there already" in say(terminal, f"/export {file}")
        other = tmp_path / "chat.md"
        say(terminal, f"/export {other}")
        assert other.read_text().startswith("# Chat with m\n\n## You\n\nSay one.\n\n## m\n\n")
        leave(terminal)


def test_tokens_and_times_are_counted(daemon: Daemon) -> None:
    with chat(daemon, "m") as terminal:
        say(terminal, "Say one.")
        counted = say(terminal, "/tokens").split()
        assert counted[1:4] == ["of", "1024", "tokens"]
        assert 10 < int(counted[0]) < 100
        say(terminal, "Say two.")
        assert say(terminal, "/stats").splitlines()[0].split() == ["answers:", "2"]
        leave(terminal)


def test_another_model_goes_on_with_what_was_said(daemon: Daemon, tmp_path: Path) -> None:
    with chat(daemon, "m") as terminal:
        say(terminal, "Say one.")
        assert say(terminal, "/model") == "m"
        assert say(terminal, "/model absent") == "Couldn't find model 'absent'"
        assert say(terminal, "/model n") == "Going on with model 'n'"
        say(terminal, "Say two.")
        file = tmp_path / "chat.json"
        say(terminal, f"/export {file}")
        said = json.loads(file.read_text())
        assert (said["model"], len(said["messages"])) == ("n", 4)
        leave(terminal)


def test_the_tabulator_completes_commands_words_and_models(daemon: Daemon) -> None:
    with chat(daemon, "m") as terminal:
        for typed, whole in (
            ("/ret\t", "/retry"),
            ("/set nohi\t", "/set nohistory"),
            ("/set parameter num_th\t", "/set parameter num_thread"),
            ("/show tem\t", "/show template"),
            ("/model n:\t", "/model n:latest"),
        ):
            terminal.send(typed)
            terminal.wait_for(f">>> {whole}")
            terminal.send("\x15")
            terminal.wait_for(lambda text: text.endswith(PLACEHOLDER))
        terminal.send("a\tb")
        terminal.wait_for("a        b")
        terminal.send("\x15")
        leave(terminal)


def test_the_history_is_searched(daemon: Daemon) -> None:
    with chat(daemon, "m") as terminal:
        say(terminal, "/set verbose")
        say(terminal, "/set quiet")
        terminal.send("\x12verb")
        terminal.wait_for("I-search backward: verb")
        terminal.send("\r\r")
        terminal.wait_for(lambda text: text.count("Set 'verbose' mode.") == 2)
        leave(terminal)
