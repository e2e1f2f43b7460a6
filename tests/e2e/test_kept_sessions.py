"""Chats that are kept by name, and what `olm` alone offers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.daemon import Daemon, running_daemon
from support.models import smollm2
from support.olm import OLM, environment, olm, out
from support.terminal import OnTerminal, on_terminal

PLACEHOLDER = "Send a message (/? for help)"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with the model `m`, whose answers have eight tokens at most."""
    with running_daemon(tmp_path_factory.mktemp("sessions") / "home") as running:
        text = f"FROM {smollm2()}\nPARAMETER temperature 0\nPARAMETER num_ctx 1024\n"
        text += "PARAMETER num_predict 8\n"
        out(olm(running.environ, "create", "m", "-f", "-", stdin=text))
        yield running


@contextmanager
def chat(daemon: Daemon, *words: str) -> Iterator[OnTerminal]:
    environ = environment(daemon.environ)
    with on_terminal([OLM, *words], environ, columns=100, rows=50) as terminal:
        terminal.wait_for(PLACEHOLDER)
        yield terminal
        terminal.send("/bye\r")
        assert terminal.wait_for_end() == 0


def say(terminal: OnTerminal, text: str) -> None:
    """Types a line and waits for the next prompt."""
    before = terminal.text.count(">>>")
    terminal.send(text + "\r")
    terminal.wait_for(lambda shown: shown.count(">>>") > before and shown.endswith(PLACEHOLDER), 60)


def test_a_session_goes_on_where_it_was(daemon: Daemon) -> None:
    with chat(daemon, "run", "m", "--session", "work") as terminal:
        say(terminal, "/set system You are terse.")
        say(terminal, "Say one.")
    path = daemon.home / "sessions" / "work.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with chat(daemon, "run", "m", "--session", "work") as terminal:
        assert ">>> Say one." in terminal.text
        say(terminal, "Say two.")
        say(terminal, "/show system")
        assert "You are terse." in terminal.text
    kept = json.loads(path.read_text())
    assert [message["content"] for message in kept["messages"][::2]] == ["Say one.", "Say two."]
    assert kept["system"] == "You are terse."


def test_a_prompt_is_asked_in_a_session_and_kept(daemon: Daemon) -> None:
    environ, ask = daemon.environ, ("run", "m", "--session", "script")
    first = out(olm(environ, *ask, "--system", "You are terse.", "--seed", "7", "Say", "one."))
    second = json.loads(out(olm(environ, *ask, "--json", stdin="Say two.")))
    path = daemon.home / "sessions" / "script.json"
    kept = json.loads(path.read_text())
    said = [(message["role"], message["content"]) for message in kept["messages"]]
    assert said == [
        ("user", "Say one."),
        ("assistant", first.removesuffix("\n")),
        ("user", "Say two."),
        ("assistant", second["text"]),
    ]
    assert (kept["system"], kept["options"]) == ("You are terse.", {}), "flags are of one prompt"
    messages = [{"role": "system", "content": "You are terse."}, *kept["messages"][:3]]
    counted = olm(environ, "prompt", "m", "--tokens", "--messages", "-", stdin=json.dumps(messages))
    assert second["tokens"]["prompt"] == len(json.loads(out(counted))), "all was asked"
    cut = olm(environ, *ask, "--max-tokens", "1", "Say three.")
    assert cut.returncode == 9
    assert out(olm(environ, *ask, "")) == ""
    assert len(json.loads(path.read_text())["messages"]) == 6, "a cut answer is kept, none is not"
    # What is recorded is replayed with all that was said.
    recording = daemon.home / "recorded.json"
    again = out(olm(environ, *ask, "--record", str(recording), "--reproducible", "Say four."))
    assert out(olm(environ, "replay", str(recording))) == again


def test_a_session_is_one_commands_at_a_time(daemon: Daemon) -> None:
    with chat(daemon, "run", "m", "--session", "shared") as terminal:
        say(terminal, "Say one.")
        refused = olm(daemon.environ, "session", "rm", "shared")
        assert refused.returncode == 1
        assert b"the session 'shared' is in use by another command" in refused.stderr
        command = ("run", "m", "--session", "shared", "--timeout", "1", "Say two.")
        waiting = olm(daemon.environ, *command)
        assert waiting.returncode == 10
        assert b"waiting for another command that uses the session shared" in waiting.stderr
    assert olm(daemon.environ, "run", "m", "--session", "shared", "Say two.").returncode == 0
    kept = json.loads((daemon.home / "sessions" / "shared.json").read_text())
    assert [turn["content"] for turn in kept["messages"][::2]] == ["Say one.", "Say two."]
    assert out(olm(daemon.environ, "session", "rm", "shared")) == "shared\n"
    assert not list((daemon.home / "sessions").glob("shared*"))


def test_sessions_are_listed_and_removed(daemon: Daemon) -> None:
    with chat(daemon, "run", "m", "--session", "gone") as terminal:
        say(terminal, "/set parameter seed 1")
    [row] = [
        json.loads(line)
        for line in out(olm(daemon.environ, "session", "ls", "--json")).splitlines()
        if json.loads(line)["name"] == "gone"
    ]
    assert (row["model"], row["turns"]) == ("m", 0)
    assert "gone" in out(olm(daemon.environ, "session", "ls"))
    assert out(olm(daemon.environ, "session", "rm", "gone")) == "gone\n"
    assert "gone" not in out(olm(daemon.environ, "session", "ls", "-q")).splitlines()
    done = olm(daemon.environ, "session", "rm", "gone")
    assert done.returncode == 3
    assert b"there is no session 'gone'" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["run", "m", "--session", "../x", "a prompt"],
        ["session", "rm"],
        ["session", "rm", "../escape"],
        ["session", "ls", "x"],
        ["session", "rm", "x", "--json"],
    ],
)
def test_what_is_no_session_is_told(daemon: Daemon, words: list[str]) -> None:
    assert olm(daemon.environ, *words).returncode == 2


def test_a_broken_file_is_told_with_what_to_do(daemon: Daemon) -> None:
    path = daemon.home / "sessions" / "broken.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"version": 1, "messages": [{"role": "root"}]}')
    command = [OLM, "run", "m", "--session", "broken"]
    with on_terminal(command, environment(daemon.environ), columns=300) as terminal:
        assert terminal.wait_for_end(60) == 1
        assert "holds no session that can be read" in terminal.text
        assert "olm session rm broken" in terminal.text
    assert "(unreadable)" in out(olm(daemon.environ, "session", "ls"))
    out(olm(daemon.environ, "session", "rm", "broken"))


def test_olm_alone_offers_the_last_model_on_a_terminal_and_help_off_one(daemon: Daemon) -> None:
    with chat(daemon, "run", "m"):
        pass
    environ = environment(daemon.environ)
    with on_terminal([OLM], environ, columns=100, rows=50) as terminal:
        terminal.wait_for("Choose [1]:")
        assert "1  Chat with m, the last model" in terminal.text
        terminal.send("9\r")
        terminal.wait_for("There is no choice '9'.")
        terminal.send("\r")
        terminal.wait_for(PLACEHOLDER)
        terminal.send("/bye\r")
        assert terminal.wait_for_end() == 0
    with on_terminal([OLM], environ, columns=100, rows=50) as terminal:
        terminal.wait_for("Choose [1]:")
        terminal.send("2\r")
        terminal.wait_for("m:latest")
        assert terminal.wait_for_end() == 0
    for key, status in (("q\r", 0), ("\x04", 0), ("\x03", 130)):
        with on_terminal([OLM], environ) as terminal:
            terminal.wait_for("Choose [1]:")
            terminal.send(key)
            assert terminal.wait_for_end() == status
    assert out(olm(daemon.environ)).startswith("Usage: olm")
