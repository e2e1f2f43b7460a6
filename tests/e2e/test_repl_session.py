"""A chat on a real terminal: typing, answers, interrupts, commands."""

import json
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.daemon import Daemon, running_daemon
from support.models import smollm2
from support.olm import OLM, environment, olm, out
from support.terminal import OnTerminal, on_terminal

PLACEHOLDER = "Send a message (/? for help)"
OPTIONS = "PARAMETER seed 1\nPARAMETER temperature 0\nPARAMETER num_ctx 1024\n"
UP = "\x1b[A"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("repl") / "home") as running:
        for name, tokens in (("m", 8), ("long", 400)):
            text = f"FROM {smollm2()}\n{OPTIONS}PARAMETER num_predict {tokens}"
            out(olm(running.environ, "create", name, "-f", "-", stdin=text))
        yield running


@contextmanager
def chat(
    daemon: Daemon, *words: str, columns: int = 80, environ: Mapping[str, str] | None = None
) -> Iterator[OnTerminal]:
    """A chat that waits for its first message."""
    environ = environment(daemon.environ | dict(environ or {}))
    with on_terminal([OLM, "run", *words], environ, columns=columns, rows=50) as terminal:
        terminal.wait_for(PLACEHOLDER)
        yield terminal


def prompts(text: str) -> int:
    """How many prompts the chat has shown."""
    return sum(line.startswith(">>>") for line in text.split("\n"))


def say(terminal: OnTerminal, text: str) -> str:
    """Types a line, waits for the next prompt; returns what came in between."""
    before = prompts(terminal.text)
    terminal.send(text + "\r")
    terminal.wait_for(lambda shown: prompts(shown) > before and shown.endswith(PLACEHOLDER), 60)
    last = terminal.text.split("\n>>>")[-2]
    return last.partition("\n")[2].strip()


def leave(terminal: OnTerminal) -> None:
    terminal.send("/bye\r")
    assert terminal.wait_for_end() == 0


def test_messages_are_answered_and_remembered(daemon: Daemon) -> None:
    with chat(daemon, "m") as terminal:
        assert say(terminal, "Say hi.")
        assert say(terminal, "And again.")
        leave(terminal)
    status, body = daemon.request("GET", "/api/ps")
    assert status == 200
    assert json.loads(body)["models"][0]["name"] == "m:latest"


def test_ctrl_c_ends_the_answer_and_keeps_the_chat(daemon: Daemon) -> None:
    with chat(daemon, "long") as terminal:
        terminal.send("Write a very long story.\r")
        terminal.wait_for(lambda text: len(text.split(">>>")[-1].split()) > 12)
        terminal.send("\x03")
        terminal.wait_for(lambda text: prompts(text) == 2 and text.endswith(PLACEHOLDER))
        say(terminal, "/load m")
        assert say(terminal, "Say hi.")
        leave(terminal)


def test_a_long_prompt_says_how_far_it_is_until_it_is_left(daemon: Daemon) -> None:
    # A token a step: no machine reads it in half a second.
    with chat(daemon, "long", "--set", "num_batch=1") as terminal:
        terminal.send("The sea is wide and blue. " * 120 + "\r")
        terminal.wait_for("reading the prompt ")
        terminal.send("\x03")
        terminal.wait_for(lambda shown: shown.endswith(PLACEHOLDER))
        assert "reading the prompt" not in terminal.text
        leave(terminal)


def test_what_is_typed_during_an_answer_waits_for_the_prompt(daemon: Daemon) -> None:
    with chat(daemon, "long") as terminal:
        say(terminal, "/set parameter num_predict 60")
        terminal.send("Write a story.\r")
        terminal.wait_for(lambda text: len(text.split(">>>")[-1].split()) > 8)
        terminal.send("/set verbose\r/set qui")
        terminal.wait_for("Set 'verbose' mode.")
        terminal.wait_for(">>> /set qui")
        assert terminal.text.count("/set verbose") == 1
        terminal.send("et\r")
        terminal.wait_for("Set 'quiet' mode.")
        leave(terminal)


def test_ctrl_c_at_the_prompt_drops_the_line_and_says_how_to_leave(daemon: Daemon) -> None:
    with chat(daemon, "m") as terminal:
        terminal.send("half a line")
        terminal.wait_for("half a line")
        terminal.send("\x03")
        terminal.wait_for("Use Ctrl + d or /bye to exit.")
        terminal.wait_for(lambda text: text.endswith(PLACEHOLDER))
        terminal.send('"""\rin a block')
        terminal.wait_for("... in a block")
        terminal.send("\x03")
        terminal.wait_for(lambda text: text.endswith(PLACEHOLDER))
        assert "Set 'verbose' mode." in say(terminal, "/set verbose")
        leave(terminal)


def test_ctrl_d_leaves_on_an_empty_line_only(daemon: Daemon) -> None:
    with chat(daemon, "m") as terminal:
        terminal.send("/by_e\x1b[D\x1b[D\x04\r")
        assert terminal.wait_for_end() == 0
    with chat(daemon, "m") as terminal:
        terminal.send("\x04")
        assert terminal.wait_for_end() == 0


def test_several_lines_by_quotes_by_ctrl_j_and_by_paste(daemon: Daemon) -> None:
    with chat(daemon, "m") as terminal:
        say(terminal, "/set system one")
        terminal.send('/set system """\rtwo\rthree\r"""\r')
        terminal.wait_for(lambda text: prompts(text) == 3 and text.endswith(PLACEHOLDER))
        assert say(terminal, "/show system") == "two\nthree"
        terminal.send("/set system four\nfive\r")
        terminal.wait_for(lambda text: prompts(text) == 5 and text.endswith(PLACEHOLDER))
        assert say(terminal, "/show system") == "four\nfive"
        terminal.send("\x1b[200~/set system six\rseven\x1b[201~")
        terminal.wait_for("... seven")
        terminal.send("\r")
        terminal.wait_for(lambda text: prompts(text) == 7 and text.endswith(PLACEHOLDER))
        assert say(terminal, "/show system") == "six\nseven"
        leave(terminal)


def test_settings_reach_the_model(daemon: Daemon) -> None:
    with chat(daemon, "long") as terminal:
        assert say(terminal, "/set parameter num_predict 3") == "Set parameter 'num_predict' to '3'"
        shown = say(terminal, "/set verbose")
        shown = say(terminal, "Write a very long story.")
        assert "eval count:           3 token(s)" in shown
        assert say(terminal, "/set quiet") == "Set 'quiet' mode."
        shown = say(terminal, "/show parameters")
        assert "Model defined parameters:" in shown
        assert "User defined parameters:\n  num_predict                    3" in shown
        assert "PARAMETER num_predict 3" in say(terminal, "/show modelfile")
        leave(terminal)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("/set parameter foo 1", "Couldn't set parameter: \"unknown parameter 'foo'\""),
        ("/set parameter top_k x", "Couldn't set parameter: \"top_k takes an integer, not 'x'\""),
        ("/set parameter stop a b", "Set parameter 'stop' to 'a, b'"),
        ("/set nowordwrap", "Set 'nowordwrap' mode."),
        ("/set format json", "Set format to 'json' mode."),
        ("/set format", "Invalid or missing format. For 'json' mode use '/set format json'"),
        ("/set noformat", "Disabled format."),
        ("/set other", "Unknown command '/set other'. Type /? for help"),
        ("/show other", "Unknown command '/show other'. Type /? for help"),
        ("/show license", "No license was specified for this model."),
        ("/show system", "No system message was specified for this model."),
        ("/byebye", "Unknown command '/byebye'. Type /? for help"),
        ("/load", "Usage:\n  /load <modelname>"),
        ("/load missing", "Couldn't find model 'missing'"),
        ("/save", "Usage:\n  /save <modelname>"),
        ("/save ../x", "error: The model name '../x' is invalid"),
        ("/clear", "Cleared session context"),
    ],
)
def test_commands_answer(line: str, answer: str, session: OnTerminal) -> None:
    assert say(session, line).startswith(answer)


@pytest.fixture(scope="module")
def session(daemon: Daemon) -> Iterator[OnTerminal]:
    """One chat for all commands that leave no trace."""
    with chat(daemon, "m") as terminal:
        yield terminal
        leave(terminal)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/?", ["/set", "/show", "/load <model>", "/bye", 'Use """ to begin']),
        ("/help", ["/save <model>", "/? shortcuts"]),
        ("/? set", ["/set parameter ...", "/set nothink"]),
        ("/? show", ["/show modelfile"]),
        ("/? shortcuts", ["Ctrl + d", "Exit olm (/bye)"]),
        ("/set", ["/set wordwrap"]),
        ("/show", ["/show template"]),
        ("/set parameter", ["/set parameter num_ctx <int>", "stop <string> <string> ..."]),
        ("/show info", ["architecture", "llama", "134.52M"]),
        ("/show template", ["<|im_start|>"]),
        ("/set think", ["Set 'think' mode.", "does not support thinking output"]),
        ("/set nothink", ["Set 'nothink' mode."]),
        ("/list", ["NAME", "m:latest", "long:latest"]),
    ],
)
def test_help_and_information(line: str, words: list[str], session: OnTerminal) -> None:
    shown = say(session, line)
    for word in words:
        assert word in shown


def test_a_chat_is_saved_with_its_settings_and_turns(daemon: Daemon) -> None:
    with chat(daemon, "m") as terminal:
        say(terminal, "/set system Be a pirate.")
        say(terminal, "/set parameter num_predict 4")
        say(terminal, "Say hi.")
        assert say(terminal, "/save pirate") == "Created new model 'pirate'"
        leave(terminal)
    assert out(olm(daemon.environ, "show", "pirate", "--system")) == "Be a pirate."
    modelfile = out(olm(daemon.environ, "show", "pirate", "--modelfile"))
    assert "PARAMETER num_predict 4" in modelfile
    assert "MESSAGE user Say hi." in modelfile
    with chat(daemon, "pirate") as terminal:
        assert ">>> Say hi." in terminal.text
        leave(terminal)


def test_history_is_kept_in_the_home_and_recalled(daemon: Daemon) -> None:
    history = daemon.home / "history"
    with chat(daemon, "m") as terminal:
        say(terminal, "/set verbose")
        leave(terminal)
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    with chat(daemon, "m") as terminal:
        terminal.send(UP + UP)
        terminal.wait_for(">>> /set verbose")
        terminal.send("\r")
        terminal.wait_for("Set 'verbose' mode.")
        leave(terminal)
    length = history.stat().st_size
    with chat(daemon, "m", environ={"OLM_NOHISTORY": "1"}) as terminal:
        say(terminal, "/set quiet")
        leave(terminal)
    with chat(daemon, "m") as terminal:
        say(terminal, "/set nohistory")
        say(terminal, "/set quiet")
        leave(terminal)
    assert b"quiet" not in history.read_bytes()[length:]


def test_an_editor_writes_the_message(daemon: Daemon, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "%s from the editor\\n\\n" "$(cat $1)" > $1\n')
    editor.chmod(0o755)
    with chat(daemon, "m", environ={"OLM_EDITOR": str(editor)}) as terminal:
        terminal.send("/set system text")
        terminal.wait_for("/set system text")
        terminal.send("\x07")
        terminal.wait_for("/set system text from the editor")
        terminal.send("\r")
        terminal.wait_for("Set system message.")
        leave(terminal)
    with chat(daemon, "m", environ={"OLM_EDITOR": "/no/such/editor"}) as terminal:
        terminal.send("\x07")
        terminal.wait_for("error: editor '/no/such/editor' not found, set OLM_EDITOR")
        # The terminal is the editor's until the prompt is back.
        terminal.wait_for(lambda text: text.endswith(PLACEHOLDER))
        leave(terminal)


def test_answers_are_wrapped_at_words(daemon: Daemon) -> None:
    with chat(daemon, "long", "--nowordwrap", columns=40) as terminal:
        say(terminal, "/set parameter num_predict 60")
        say(terminal, "/set wordwrap")
        shown = say(terminal, "Write a paragraph about the sea.")
        assert len(shown.split("\n")) > 3
        assert all(len(line) < 40 for line in shown.split("\n"))
        leave(terminal)


def test_a_lost_daemon_is_told_and_started_again(daemon: Daemon, tmp_path: Path) -> None:
    environ = {"OLM_MODELS": str(daemon.home / "models")}
    with running_daemon(tmp_path / "second", environ=environ) as second:
        with chat(second, "long", environ=environ) as terminal:
            terminal.send("Write a very long story.\r")
            terminal.wait_for(lambda text: len(text.split(">>>")[-1].split()) > 12)
            second.kill()
            terminal.wait_for("Error: the daemon at")
            terminal.wait_for(lambda text: text.endswith(PLACEHOLDER))
            assert "Set parameter" in say(terminal, "/set parameter num_predict 4")
            assert say(terminal, "Say hi.")
            leave(terminal)
        out(olm(second.environ, "serve", "--stop"))


def test_a_model_that_is_missing_ends_the_command(daemon: Daemon) -> None:
    environ = environment(daemon.environ | {"PIP_INDEX_URL": "http://127.0.0.1:1"})
    with on_terminal([OLM, "run", "pypi://no-such-package-of-olm"], environ) as terminal:
        assert terminal.wait_for_end() != 0
        assert "Error: " in terminal.text
        assert PLACEHOLDER not in terminal.text
