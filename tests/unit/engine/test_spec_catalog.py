import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from olmkit.engine.errors import ModelUnloadable
from olmkit.engine.models.capabilities import TemplateFacts
from olmkit.engine.models.catalog import Catalog
from olmkit.engine.models.configblob import describe, human_count
from olmkit.engine.models.spec import special_tokens
from olmkit.registry.errors import InvalidReference, ModelNotFound, StoreError
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store
from support import gguffile
from support.gguffile import GgufFile

T = TypeVar("T")
METADATA = {
    "general.architecture": gguffile.string("llama"),
    "llama.context_length": gguffile.number(gguffile.UINT32, 77),
    "tokenizer.ggml.tokens": gguffile.array(gguffile.STRING, ["<unk>", "<s>", "</s>"]),
    "tokenizer.ggml.bos_token_id": gguffile.number(gguffile.UINT32, 1),
    "tokenizer.ggml.eos_token_id": gguffile.number(gguffile.UINT32, 2),
    "tokenizer.ggml.padding_token_id": gguffile.number(gguffile.UINT32, 99),
    "tokenizer.chat_template": gguffile.string("{{ tools }}"),
}


class Shelf:
    """A store with a catalog over it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "models")
        self.inspected: list[str] = []
        self.catalog = Catalog(
            self.store,
            shortnames_path=folder / "shortnames.toml",
            inspect_template=self._inspect,
        )

    async def _inspect(self, template: str) -> TemplateFacts:
        self.inspected.append(template)
        return TemplateFacts(insert=True)

    def put(self, name: str, *, config: ModelConfig | None = None, **layers: bytes) -> Digest:
        """A model of a tiny GGUF file with more layers by the last part of their media type."""
        path = GgufFile(metadata=METADATA).write(self.folder / "tiny.gguf")
        weights, size_bytes = self.store.blobs.ingest_file(path)
        described = [
            Descriptor(media_type=mediatypes.OLLAMA_MODEL, digest=weights, size_bytes=size_bytes)
        ]
        for kind, data in layers.items():
            media_type = mediatypes.OLLAMA_MODEL.replace("model", kind)
            digest = self.store.blobs.put_bytes(data)
            described.append(Descriptor(media_type=media_type, digest=digest, size_bytes=len(data)))
        raw = (config or ModelConfig()).to_json()
        blob = Descriptor(
            media_type=mediatypes.DOCKER_CONFIG,
            digest=self.store.blobs.put_bytes(raw),
            size_bytes=len(raw),
        )
        self.store.put(Reference.parse(name), Manifest.build(blob, described))
        return weights


def wait(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_names_fold_case_and_short_names_stand_for_long_ones(shelf: Shelf) -> None:
    shelf.put("Llama")
    assert wait(shelf.catalog.spec("llama")).name == "Llama:latest"
    (shelf.folder / "shortnames.toml").write_text('[shortnames]\nmine = "llama:latest"\n')
    assert wait(shelf.catalog.spec("mine")).name == "Llama:latest"
    assert shelf.catalog.resolve("demo").short == "demo:latest"
    shelf.put("demo")
    assert shelf.catalog.resolve("demo").short == "demo:latest"
    with pytest.raises(ModelNotFound):
        wait(shelf.catalog.spec("other"))
    with pytest.raises(InvalidReference):
        wait(shelf.catalog.spec("../x"))


def test_a_spec_has_what_the_layers_say(shelf: Shelf) -> None:
    weights = shelf.put(
        "full",
        prompt=b"old",
        template=b"{{ .Suffix }}",
        system=b"S",
        params=b'{"seed":1,"unknown":2}',
        messages=b'[{"role":"user","content":"x"}, 5]',
        license=b"L",
        embed=b"ignored",
    )
    spec = wait(shelf.catalog.spec("full"))
    assert (spec.go_template, spec.system, spec.licenses) == ("{{ .Suffix }}", "S", ("L",))
    assert spec.parameters == {"seed": 1}
    assert [m.content for m in spec.messages] == ["x"]
    assert spec.files.weights_path == str(shelf.store.blobs.path(weights))
    assert spec.special_tokens == {"bos_token": "<s>", "eos_token": "</s>"}
    assert spec.full_name == "registry.ollama.ai/library/full:latest"
    assert wait(shelf.catalog.capabilities(spec)) == ("completion", "tools", "insert")


def test_the_same_weights_have_the_same_key_under_any_name(shelf: Shelf) -> None:
    shelf.put("a")
    shelf.put("b", system=b"S")
    a, b = wait(shelf.catalog.spec("a")), wait(shelf.catalog.spec("b"))
    assert a.model_key == b.model_key and a.digest != b.digest


def test_a_file_is_a_model_by_its_digest(shelf: Shelf) -> None:
    weights = shelf.put("a")
    spec = wait(shelf.catalog.spec(str(weights)))
    assert spec.name == spec.digest == spec.model_key == str(weights)
    assert spec.special_tokens["bos_token"] == "<s>"
    with pytest.raises(ModelNotFound):
        wait(shelf.catalog.spec("sha256:" + "0" * 64))
    text = shelf.store.blobs.put_bytes(b"hello")
    with pytest.raises(ModelUnloadable, match="no GGUF file"):
        wait(shelf.catalog.spec(str(text)))


def test_a_template_is_looked_into_once(shelf: Shelf) -> None:
    shelf.put("a", template=b"T")
    shelf.put("b", template=b"T", system=b"S")
    for name in ("a", "b", "a"):
        wait(shelf.catalog.capabilities(wait(shelf.catalog.spec(name))))
    assert shelf.inspected == ["T"]


def test_a_summary_prefers_the_files_facts_and_survives_a_broken_file(shelf: Shelf) -> None:
    weights = shelf.put("a", config=ModelConfig(model_type="7B", capabilities=("vision",)))
    stored = shelf.store.load(Reference.parse("a"))
    summary = wait(shelf.catalog.summary(stored))
    assert (summary.config.model_family, summary.config.model_type) == ("llama", "7B")
    assert summary.context_length == 77
    assert summary.capabilities == ("completion", "vision", "tools")
    shelf.store.blobs.path(weights).unlink()
    fresh = Shelf(shelf.folder)
    summary = wait(fresh.catalog.summary(stored))
    assert (summary.config.model_type, summary.capabilities) == ("7B", ("vision",))
    with pytest.raises(StoreError, match="missing"):
        wait(fresh.catalog.spec("a"))


def test_a_remembered_model_whose_weights_went_is_noticed(shelf: Shelf) -> None:
    weights = shelf.put("a")
    wait(shelf.catalog.spec("a"))
    shelf.store.blobs.path(weights).unlink()
    with pytest.raises(StoreError):
        wait(shelf.catalog.spec("a"))


def test_a_name_is_found_again_as_long_as_it_is_the_same_model(shelf: Shelf) -> None:
    shelf.put("m", system=b"first")
    found = wait(shelf.catalog.spec("m"))
    assert wait(shelf.catalog.spec("m")) is found  # what is looked up anew is another object
    shelf.put("m", system=b"second")
    assert wait(shelf.catalog.spec("m")).system == "second"
    shelf.store.remove(Reference.parse("m"))
    with pytest.raises(ModelNotFound):
        wait(shelf.catalog.spec("m"))


def test_a_name_that_was_found_under_another_spelling_gives_way_to_its_own(shelf: Shelf) -> None:
    shelf.put("Llama", system=b"other")
    assert wait(shelf.catalog.spec("llama")).system == "other"
    shelf.put("Phi", system=b"long")
    (shelf.folder / "shortnames.toml").write_text('[shortnames]\nmine = "Phi"\n')
    assert wait(shelf.catalog.spec("mine")).system == "long"
    (shelf.folder / "shortnames.toml").write_text('[shortnames]\nmine = "Llama"\n')
    assert wait(shelf.catalog.spec("mine")).system == "other"
    shelf.put("mine", system=b"own")
    assert wait(shelf.catalog.spec("mine")).system == "own"


def test_a_found_model_that_lost_a_part_says_so(shelf: Shelf) -> None:
    shelf.put("m", system=b"gone")
    wait(shelf.catalog.spec("m"))
    shelf.store.blobs.path(Digest.of(b"gone")).unlink()
    with pytest.raises(StoreError, match="missing"):
        wait(shelf.catalog.spec("m"))


def test_models_that_olm_cannot_run_say_why(shelf: Shelf) -> None:
    shelf.put("stub", config=ModelConfig(remote_host="ollama.com", remote_model="x"))
    with pytest.raises(ModelUnloadable, match="runs on another server"):
        wait(shelf.catalog.spec("stub"))
    shelf.put("odd", params=b"[1")
    with pytest.raises(ModelUnloadable, match="its params layer is no JSON"):
        wait(shelf.catalog.spec("odd"))


def test_the_header_describes_the_model(shelf: Shelf, tmp_path: Path) -> None:
    path = GgufFile(metadata=METADATA).write(tmp_path / "x.gguf")
    config = describe(path)
    assert (config.model_format, config.model_family, config.model_type) == ("gguf", "llama", "32")
    assert config.file_type == "F32"
    from olmkit.engine.gguf.header import read_header

    assert special_tokens(read_header(path)) == {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (999, "999"),
        (23_000, "23K"),
        (134_515_008, "134.52M"),
        (8_030_261_312, "8.0B"),
        (1_500_000_000_000, "1.5T"),
    ],
)
def test_counts_are_printed_as_ollama_prints_them(number: int, text: str) -> None:
    assert human_count(number) == text
