"""`olm create` from a safetensors directory: what lies beside the weights has its effect."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api
from support.checkpoints import write_checkpoint
from support.daemon import running_daemon
from support.models import minilm_directory
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
