"""`olm create` from a safetensors directory: what lies beside the weights has its effect."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.api import Api
from support.checkpoints import write_checkpoint
from support.daemon import running_daemon, wait_until
from support.models import minilm_directory, minilm_gguf
from support.olm import olm, out

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_daemon(tmp_path_factory.mktemp("directories") / "home") as daemon:
        yield Api(daemon)


def build(api: Api, name: str, directory: Path) -> None:
    out(olm(api.daemon.environ, "create", name, "-f", "-", stdin=f"FROM {directory}\n"))


def test_a_bert_model_without_tokenizer_json_reads_its_words_from_vocab_txt(
    api: Api, tmp_path: Path
) -> None:
    shutil.copytree(minilm_directory(), tmp_path / "old")
    (tmp_path / "old" / "tokenizer.json").unlink()
    build(api, "old", tmp_path / "old")
    build(api, "new", minilm_directory())
    old, new = (
        api.post("/api/embed", {"model": name, "input": "Naïve words, tokenized"}).json
        for name in ("old", "new")
    )
    assert old["embeddings"] == new["embeddings"]


def test_templates_by_name_come_along_and_the_one_for_tools_renders_tools(
    api: Api, tmp_path: Path
) -> None:
    directory = write_checkpoint("qwen2", tmp_path / "model")
    (directory / "chat_template.jinja").write_text("plain: {{ messages[-1].content }}")
    (directory / "additional_chat_templates").mkdir()
    (directory / "additional_chat_templates" / "tool_use.jinja").write_text(
        "tools: {{ tools | length }} {{ messages[-1].content }}"
    )
    build(api, "tools", directory)
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
    environ = api.daemon.environ
    assert out(olm(environ, "prompt", "tools", "hi")) == "plain: hi"
    with_tools = olm(environ, "prompt", "tools", "hi", "--tools", str(tmp_path / "tools.json"))
    assert out(with_tools) == "tools: 1 hi"


def test_what_is_made_on_the_way_is_no_blob(api: Api, tmp_path: Path) -> None:
    blobs = Path(api.get("/api/status").json["olm"]["models"]) / "blobs"
    directory = write_checkpoint("llama", tmp_path / "model")
    given = sum(path.is_file() for path in directory.iterdir())
    before = len(list(blobs.iterdir()))
    words = ("create", "small", "-f", "-", "--quantize", "q8_0")
    out(olm(api.daemon.environ, *words, stdin=f"FROM {directory}\n"))
    made = len(list(blobs.iterdir())) - before - given
    assert made == 2, "the quantized model and the config"


def test_a_create_that_nobody_waits_for_ends_its_processes_and_leaves_nothing(api: Api) -> None:
    models = Path(api.get("/api/status").json["olm"]["models"])
    files = {"m.gguf": api.import_file(minilm_gguf())}
    before = sorted((models / "blobs").iterdir())
    body = {"model": "never", "files": files, "quantize": "iq3_s"}
    with api.daemon.stream("POST", "/api/create", body) as reply:
        while b"quantizing" not in reply.readline():
            pass
    daemon = psutil.Process(api.daemon.process.pid)
    workers = [each for each in daemon.children(recursive=True) if "quantize" in command(each)]
    wait_until(lambda: not any(each.is_running() for each in workers), what="their end")
    wait_until(lambda: not any((models / "staging").iterdir()), what="the clean-up")
    assert sorted((models / "blobs").iterdir()) == before
    assert "never" not in api.get("/api/tags").body.decode()


def command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
