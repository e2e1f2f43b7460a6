"""`olm prompt` and `olm show --template --effective`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api
from support.daemon import Daemon, running_daemon
from support.models import minilm_gguf, smollm2
from support.olm import olm, out

TOOLS = [{"type": "function", "function": {"name": "now", "description": "The time."}}]
GO_WITH_TOOLS = (
    "{{ if .Tools }}TOOLS {{ .Tools }}\n{{ end }}"
    "{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ range .ToolCalls }}{{ end }}"
    '{{ if eq .Role "tool" }}{{ end }}{{ end }}<assistant>'
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("prompt") / "home") as running:
        api = Api(running)
        api.create("smol", smollm2())
        api.create("brief", parent="smol", system="Be brief.")
        api.create("go", parent="smol", template=GO_WITH_TOOLS)
        api.create("minilm", minilm_gguf())
        yield running


def chatml(*turns: tuple[str, str]) -> str:
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns) + (
        "<|im_start|>assistant\n"
    )


def test_the_prompt_of_a_chat_is_printed_byte_for_byte_and_nothing_is_loaded(
    daemon: Daemon,
) -> None:
    printed = out(olm(daemon.environ, "prompt", "brief", "Hello", "there"))
    assert printed == chatml(("system", "Be brief."), ("user", "Hello there"))
    assert daemon.runners() == []


def test_a_system_message_replaces_the_models_own(daemon: Daemon) -> None:
    printed = out(olm(daemon.environ, "prompt", "brief", "--system", "Rhyme.", "Hi"))
    assert printed == chatml(("system", "Rhyme."), ("user", "Hi"))


def test_messages_come_from_a_file_and_the_prompt_behind_them(
    daemon: Daemon, tmp_path: Path
) -> None:
    turns = [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "2"}]
    (tmp_path / "turns.json").write_text(json.dumps(turns))
    printed = out(
        olm(daemon.environ, "prompt", "brief", "3?", "--messages", "turns.json", cwd=tmp_path)
    )
    expected = (("system", "Be brief."), ("user", "1?"), ("assistant", "2"), ("user", "3?"))
    assert printed == chatml(*expected)


def test_the_body_of_a_chat_request_on_standard_input_does_as_well(daemon: Daemon) -> None:
    body = {"messages": [{"role": "user", "content": "now?"}], "tools": TOOLS}
    done = olm(daemon.environ, "prompt", "go", "--messages", "-", stdin=json.dumps(body))
    assert out(done).startswith('TOOLS [{"type":"function"')
    assert out(done).endswith("<user>now?<assistant>")


def test_tools_come_from_a_file(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
    done = olm(daemon.environ, "prompt", "go", "now?", "--tools", "tools.json", cwd=tmp_path)
    assert '"name":"now"' in out(done)


def test_tokens_are_those_that_a_generation_starts_with(daemon: Daemon) -> None:
    tokens = json.loads(out(olm(daemon.environ, "prompt", "smol", "Hello", "--tokens")))
    reply = Api(daemon).post(
        "/api/generate",
        {"model": "smol", "prompt": "Hello", "stream": False, "options": {"num_predict": 1}},
    )
    assert reply.json["context"][: len(tokens)] == tokens
    assert reply.json["prompt_eval_count"] == len(tokens)


def test_tokens_need_no_weights(daemon: Daemon) -> None:
    Api(daemon).post("/api/generate", {"model": "smol", "keep_alive": 0})
    assert json.loads(out(olm(daemon.environ, "prompt", "brief", "Hello", "--tokens")))
    assert Api(daemon).running() == []


def test_raw_text_becomes_tokens_also_for_an_embedding_model(daemon: Daemon) -> None:
    done = olm(daemon.environ, "prompt", "minilm", "hello world", "--raw", "--tokens")
    assert json.loads(out(done)) == [101, 7592, 2088, 102]


def test_a_local_file_is_a_model(daemon: Daemon) -> None:
    printed = out(olm(daemon.environ, "prompt", str(smollm2()), "Hi"))
    assert printed.endswith(chatml(("user", "Hi")))


@pytest.mark.parametrize(
    ("words", "stdin", "status", "complaint"),
    [
        (("nope", "x"), "", 3, "not found"),
        (("smol", "--messages", "-"), "{", 2, "is no JSON"),
        (("smol", "--messages", "-"), "[1]", 2, "holds no JSON array of objects"),
        (("smol", "--messages", "absent.json"), "", 3, "no such file: absent.json"),
        (("smol", "--raw", "--system", "x"), "", 2, "--raw goes with"),
        (("minilm", "x"), "", 1, "does not support chat"),
    ],
)
def test_what_makes_no_prompt_is_refused(
    daemon: Daemon, words: tuple[str, ...], stdin: str, status: int, complaint: str
) -> None:
    done = olm(daemon.environ, "prompt", *words, stdin=stdin)
    assert done.returncode == status
    assert complaint in done.stderr.decode()
    assert done.stdout == b""


def test_show_says_which_template_is_used_and_why(daemon: Daemon) -> None:
    done = olm(daemon.environ, "show", "smol", "--template", "--effective")
    assert "<|im_start|>" in out(done)
    assert done.stderr.decode() == "jinja: the model has no Go template\n"
    done = olm(daemon.environ, "show", "go", "--template", "--effective")
    assert out(done) == GO_WITH_TOOLS
    assert done.stderr.decode() == "go: the model has a Go template\n"


def test_show_effective_goes_with_template_alone(daemon: Daemon) -> None:
    done = olm(daemon.environ, "show", "smol", "--effective")
    assert done.returncode == 2
    assert "--effective goes with --template" in done.stderr.decode()
