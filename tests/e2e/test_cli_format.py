"""`olm run --format` and `/set format json`."""

import json
from collections.abc import Iterator

import pytest

from support.daemon import Daemon, running_daemon
from support.jsonschema import problems
from support.models import smollm2
from support.olm import OLM, environment, olm, out
from support.terminal import on_terminal

OPTIONS = "PARAMETER seed 1\nPARAMETER temperature 0\nPARAMETER num_ctx 1024\n"
PLACEHOLDER = "Send a message (/? for help)"
HELLO = 'Say hi as JSON, like {"hello": "world"}.'
NUMBER = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}, "é": {"enum": ["😀"]}},
    "required": ["n", "é"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("format") / "home") as running:
        text = f"FROM {smollm2()}\n{OPTIONS}PARAMETER num_predict 150"
        out(olm(running.environ, "create", "m", "-f", "-", stdin=text))
        yield running


def test_a_schema_holds_the_answer(daemon: Daemon) -> None:
    schema = json.dumps(NUMBER, ensure_ascii=False)
    answer = out(olm(daemon.environ, "run", "m", "--format", schema, "Give a number as JSON."))
    assert problems(json.loads(answer), NUMBER) == []


def test_json_mode_answers_with_an_object(daemon: Daemon) -> None:
    answer = out(olm(daemon.environ, "run", "m", "--format", "json", HELLO))
    assert isinstance(json.loads(answer), dict)


def test_a_schema_that_cannot_be_kept_is_told_with_its_reason(daemon: Daemon) -> None:
    done = olm(daemon.environ, "run", "m", "--format", '{"not": {}}', "hi")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"Error: invalid JSON schema in format: no finite text fits it\n"


def test_what_a_schema_is_not_held_to_is_shown_with_verbose(daemon: Daemon) -> None:
    schema = json.dumps({**NUMBER, "minProperties": 1, "title": "T", "not": {"type": "null"}})
    done = olm(daemon.environ, "run", "m", "--verbose", "--format", schema, "A number as JSON.")
    assert out(done)
    assert "schema ignored:" in done.stderr.decode()
    assert "not at #" in done.stderr.decode()
    quiet = olm(daemon.environ, "run", "m", "--format", schema, "A number as JSON.")
    assert quiet.stderr == b""


@pytest.mark.parametrize("wrong", ["{", "[]", "xml", '"json"'])
def test_what_is_no_format_is_a_usage_error(daemon: Daemon, wrong: str) -> None:
    done = olm(daemon.environ, "run", "m", "--format", wrong, "hi")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"invalid value for --format: " in done.stderr


def test_a_chat_switches_json_mode_on_and_off(daemon: Daemon) -> None:
    def answer(text: str) -> str:
        return text.split("\n>>>")[-2].partition("\n")[2].strip()

    with on_terminal(
        [OLM, "run", "m", "--nowordwrap"], environment(daemon.environ), columns=400, rows=50
    ) as terminal:

        def say(line: str) -> str:
            before = terminal.text.count(">>>")
            terminal.send(line + "\r")
            terminal.wait_for(
                lambda shown: shown.count(">>>") > before and shown.endswith(PLACEHOLDER), 60
            )
            return answer(terminal.text)

        terminal.wait_for(PLACEHOLDER)
        assert say("/set format json") == "Set format to 'json' mode."
        assert isinstance(json.loads(say(HELLO)), dict)
        assert say("/set noformat") == "Disabled format."
        assert not say("Say hi.").startswith("{")
        terminal.send("/bye\r")
        assert terminal.wait_for_end() == 0
