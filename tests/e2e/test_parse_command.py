"""`olm parse`: what the API would return for a model's raw output."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api
from support.daemon import Daemon, running_daemon
from support.models import qwen_coder
from support.olm import olm, out

CALL = '<tool_call>\n{"name": "now", "arguments": {"zone": "UTC"}}\n</tool_call>'
TOOLS = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("parse") / "home") as running:
        Api(running).create("qwen", qwen_coder())
        yield running


@pytest.mark.parametrize("chunks", [1, 5, 1000])
def test_an_output_is_read_as_the_models_own_and_nothing_is_loaded(
    daemon: Daemon, tmp_path: Path, chunks: int
) -> None:
    (tmp_path / "output.txt").write_text(f"Let me see.\n{CALL}")
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
    words = ("parse", "qwen", "output.txt", "--tools", "tools.json", "--chunks", str(chunks))
    message = json.loads(out(olm(daemon.environ, *words, cwd=tmp_path)))
    (call,) = message["tool_calls"]
    assert message["content"] == "Let me see."
    assert call["function"] == {"index": 0, "name": "now", "arguments": {"zone": "UTC"}}
    assert daemon.runners() == []


def test_a_family_takes_the_place_of_a_model(daemon: Daemon) -> None:
    words = ("parse", "--family", "mistral")
    printed = olm(daemon.environ, *words, stdin=b"[THINK]hm[/THINK]Yes")
    assert json.loads(out(printed)) == {"role": "assistant", "content": "Yes", "thinking": "hm"}


def test_a_thought_that_the_prompt_opens_and_a_call_that_is_cut(daemon: Daemon) -> None:
    words = ("parse", "--family", "hermes", "--prompt", "<think>", "--cut")
    printed = olm(daemon.environ, *words, stdin=b'hm</think>Yes<tool_call>{"name": "no')
    assert json.loads(out(printed)) == {"role": "assistant", "content": "Yes", "thinking": "hm"}


@pytest.mark.parametrize(
    ("words", "error", "code"),
    [
        (("parse",), "a MODEL or --family is needed", 2),
        (("parse", "--family", "x", "a", "b"), "--family takes the place of MODEL", 2),
        (("parse", "--family", "nobody"), "unknown family 'nobody'", 2),
        (("parse", "missing"), "model 'missing' not found", 3),
        (("parse", "qwen", "nowhere.txt"), "no such file: nowhere.txt", 3),
    ],
)
def test_what_cannot_be_read_is_refused(
    daemon: Daemon, words: tuple[str, ...], error: str, code: int
) -> None:
    done = olm(daemon.environ, *words, stdin=b"")
    assert error in done.stderr.decode()
    assert done.returncode == code
