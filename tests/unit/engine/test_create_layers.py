"""Models made in a real store out of tiny GGUF files."""

import json
import math
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from olmkit.engine.create.assembly import Recipe, Workshop, create
from olmkit.engine.errors import InvalidRequest, ModelNotCreatable, ModelUnloadable
from olmkit.engine.models.spec import ModelSpec, StoredMessage, spec_of
from olmkit.registry.errors import Cancelled, ModelNotFound, StoreError
from olmkit.registry.events import Event, EventSink, Status
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store, StoredModel
from support import gguffile
from support.gguffile import UINT32, GgufFile, Row, number, string


@dataclass
class Bench:
    """A store to make models in, and what was told meanwhile."""

    folder: Path
    texts: list[str] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.store = Store(self.folder / "models")

    def add(self, name: str = "tiny.gguf", file: GgufFile | None = None) -> Digest:
        """Put a GGUF file among the blobs."""
        path = (file or GgufFile()).write(self.folder / name)
        return self.store.blobs.ingest_file(path)[0]

    def make(self, name: str, parent: str | None = None, **members: Any) -> StoredModel:
        """Make a model, of a tiny file when neither parent nor files are given."""
        if parent is not None:
            members["parent"] = Reference.parse(parent)
        elif "files" not in members:
            members["files"] = {"tiny.gguf": self.add()}
        recipe = Recipe(name=Reference.parse(name), **members)
        self.texts.clear()
        workshop = Workshop(
            require_loadable=lambda _: None,
            store=self.store,
            pull=self._pull,
            on_event=self._tell,
            cancelled=self.cancelled,
        )
        digest = create(recipe, workshop)
        stored = self.store.load(recipe.name)
        assert stored.manifest_digest == digest
        return stored

    def spec(self, stored: StoredModel) -> ModelSpec:
        return spec_of(self.store, stored)

    def _tell(self, event: Event) -> None:
        if isinstance(event, Status):
            self.texts.append(event.text)

    def _pull(
        self, reference: Reference, on_event: EventSink, cancelled: threading.Event
    ) -> StoredModel:
        on_event(Status(text=f"pulling {reference.short}"))
        if "absent" in reference.short:
            raise ModelNotFound("nobody has it", name=reference.short)
        put = Recipe(name=reference, files={"tiny.gguf": self.add()}, system="pulled")
        workshop = Workshop(
            require_loadable=lambda _: None,
            store=self.store,
            pull=self._pull,
            on_event=on_event,
            cancelled=cancelled,
        )
        create(put, workshop)
        return self.store.load(reference)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def kinds(stored: StoredModel) -> list[str]:
    return [layer.media_type.rpartition(".")[2] for layer in stored.manifest.layers]


FULL: dict[str, Any] = {
    "template": "{{ .Prompt }}",
    "system": "Be brief.",
    "licenses": ("MIT", "and more"),
    "parameters": {"temperature": 0.7, "stop": ["a", "b"], "num_ctx": 2048.0},
    "messages": (StoredMessage(role="user", content="hi"),),
    "renderer": "r",
    "parser": "p",
    "requires": "0.14.0",
}


def test_every_part_becomes_a_layer_in_ollamas_order(bench: Bench) -> None:
    stored = bench.make("full", **FULL)
    assert kinds(stored) == [
        *("model", "template", "system", "license", "license", "params", "messages")
    ]
    spec = bench.spec(stored)
    assert (spec.go_template, spec.system) == ("{{ .Prompt }}", "Be brief.")
    assert spec.licenses == ("MIT", "and more")
    assert spec.parameters == {"temperature": 0.7, "stop": ("a", "b"), "num_ctx": 2048}
    assert spec.messages == (StoredMessage(role="user", content="hi"),)
    config = spec.config
    assert (config.renderer, config.parser, config.requires) == ("r", "p", "0.14.0")
    assert (config.model_format, config.model_family, config.os) == ("gguf", "llama", "linux")


def test_equal_inputs_give_equal_digests(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = Bench(tmp_path / "elsewhere")
    shuffled = {**FULL, "parameters": dict(reversed(FULL["parameters"].items()))}
    assert bench.make("a", **FULL).manifest_digest == other.make("b", **shuffled).manifest_digest


def test_the_steps_are_told_in_ollamas_words(bench: Bench) -> None:
    stored = bench.make("told", system="x")
    weights, system = (layer.digest for layer in stored.manifest.layers)
    config = stored.manifest.config.digest
    assert bench.texts == [
        "parsing GGUF",
        f"using existing layer {weights}",
        f"creating new layer {system}",
        f"creating new layer {config}",
        "writing manifest",
    ]
    bench.make("again", system="x")
    assert f"using existing layer {system}" in bench.texts


def test_a_child_that_says_nothing_is_its_parent(bench: Bench) -> None:
    parent = bench.make("parent", **FULL)
    child = bench.make("child", "parent")
    assert [x.digest for x in child.manifest.layers] == [x.digest for x in parent.manifest.layers]
    assert child.manifest.config.digest == parent.manifest.config.digest
    assert {layer.from_ for layer in child.manifest.layers} == {"parent:latest"}
    assert bench.spec(child).parent == "parent:latest"


def test_what_a_child_says_replaces_or_joins_what_its_parent_said(bench: Bench) -> None:
    bench.make("parent", **FULL)
    child = bench.spec(
        bench.make(
            "child",
            "parent",
            template="{{ .Response }}",
            system="Be long.",
            licenses=("GPL",),
            parameters={"stop": "c", "top_k": 1},
            messages=(StoredMessage(role="assistant", content="yes"),),
            renderer="other",
        )
    )
    assert (child.go_template, child.system) == ("{{ .Response }}", "Be long.")
    assert child.licenses == ("MIT", "and more", "GPL")
    assert child.parameters == {"temperature": 0.7, "num_ctx": 2048, "stop": ("c",), "top_k": 1}
    assert child.messages == (StoredMessage(role="assistant", content="yes"),)
    assert (child.config.renderer, child.config.parser) == ("other", "p")


def test_an_empty_text_clears_what_is_inherited(bench: Bench) -> None:
    bench.make("parent", **FULL)
    child = bench.spec(bench.make("child", "parent", system="", template="", renderer=""))
    assert (child.system, child.go_template, child.config.renderer) == ("", None, None)


@pytest.mark.parametrize(("renderer", "is_told"), [(None, True), ("", False), ("own", False)])
def test_a_template_that_an_inherited_renderer_hides_is_told(
    renderer: str | None, is_told: bool, bench: Bench
) -> None:
    bench.make("parent", renderer="r")
    bench.make("child", "parent", template="{{ .Prompt }}", renderer=renderer)
    assert any(text.startswith("warning: the renderer r") for text in bench.texts) == is_told


def test_a_parent_that_is_missing_is_pulled(bench: Bench) -> None:
    child = bench.spec(bench.make("child", "someone/model", parameters={"seed": 1}))
    assert "pulling someone/model:latest" in bench.texts
    assert child.system == "pulled"
    with pytest.raises(ModelNotFound):
        bench.make("child2", "someone/absent")


def test_projectors_and_adapters_are_told_by_their_headers(bench: Bench) -> None:
    def typed(kind: str, architecture: str) -> GgufFile:
        metadata = {
            "general.architecture": gguffile.string(architecture),
            "general.type": gguffile.string(kind),
        }
        return GgufFile(metadata=metadata, tensors=(Row(name=f"{kind}.weight"),))

    files = {
        "z.gguf": bench.add("z.gguf"),
        "a.gguf": bench.add("a.gguf", typed("mmproj", "clip")),
        "b.gguf": bench.add("b.gguf", typed("adapter", "llama")),
    }
    stored = bench.make("seeing", files=files)
    assert kinds(stored) == ["model", "projector", "adapter"]
    spec = bench.spec(stored)
    assert spec.files.projector_path is not None and len(spec.adapters) == 1
    assert spec.config.model_families == ("llama", "clip")
    adapted = bench.make("adapted", adapters={"b.gguf": files["b.gguf"]})
    assert kinds(adapted) == ["model", "adapter"]


def steered(bench: Bench) -> dict[str, Digest]:
    """The files of a model that a control vector may be for."""
    metadata = {
        "general.architecture": gguffile.string("llama"),
        "llama.block_count": number(UINT32, 3),
        "llama.embedding_length": number(UINT32, 8),
    }
    return {"steered.gguf": bench.add("steered.gguf", GgufFile(metadata=metadata))}


def vector(bench: Bench, **members: Any) -> dict[str, Digest]:
    metadata = {"general.architecture": string("controlvector")}
    rows = (Row(name="direction.1", shape=(8,)), Row(name="direction.2", shape=(8,), offset=32))
    given = {"metadata": metadata, "tensors": rows, **members}
    path = f"vector-{len(list(bench.folder.iterdir()))}.gguf"  # a blob keeps its file as it is
    return {"happy.gguf": bench.add(path, GgufFile(**given))}


def test_a_control_vector_is_an_adapter(bench: Bench) -> None:
    base = bench.make("base", files=steered(bench))
    happy = bench.make("happy", "base", adapters=vector(bench))
    assert (kinds(base), kinds(happy)) == (["model"], ["model", "adapter"])
    assert len(bench.spec(happy).adapters) == 1
    again = bench.make("more", "happy", adapters=vector(bench, data=b"\1" * 128))
    assert kinds(again) == ["model", "adapter", "adapter"]
    beside = bench.make("beside", files=steered(bench) | vector(bench))
    assert kinds(beside) == ["model", "adapter"]


def test_a_control_vector_that_does_not_fit_is_refused(bench: Bench) -> None:
    files = steered(bench)
    wide = (Row(name="direction.1", shape=(16,)),)
    message = "happy.gguf: direction.1 has 16 numbers, the model's layers 8"
    assert refusal(bench, files=files, adapters=vector(bench, tensors=wide)) == message
    assert refusal(bench, files=files | vector(bench, tensors=wide)) == message
    nan = struct.pack("<f", math.nan) * 32
    message = "happy.gguf: direction.1 holds numbers that are not finite"
    assert refusal(bench, files=files, adapters=vector(bench, data=nan)) == message
    message = "happy.gguf: the control vector holds no directions"
    assert refusal(bench, files=files, adapters=vector(bench, tensors=())) == message
    assert "none of the files holds" in refusal(bench, files=vector(bench))
    assert "an adapter" in refusal(bench, files=files, drafts=vector(bench))


def test_models_of_one_key_load_the_same_files(bench: Bench) -> None:
    metadata = {
        "general.architecture": gguffile.string("llama"),
        "general.type": gguffile.string("adapter"),
    }
    adapter = bench.add("b.gguf", GgufFile(metadata=metadata, tensors=(Row(name="x.weight"),)))
    files = {"z.gguf": bench.add("z.gguf")}
    base = bench.spec(bench.make("base", files=files))
    adapted = bench.spec(bench.make("adapted", files=files, adapters={"b.gguf": adapter}))
    assert [path.name for path in adapted.adapters] == [bench.store.blobs.path(adapter).name]
    assert (adapted.model_key, adapted.files) == (base.model_key, base.files)


def refusal(bench: Bench, **members: Any) -> str:
    before = {stored.reference.short for stored in bench.store.list()}
    with pytest.raises((ModelNotCreatable, ModelUnloadable, InvalidRequest, StoreError)) as caught:
        bench.make("refused", **members)
    assert {stored.reference.short for stored in bench.store.list()} == before
    assert not list(bench.store.root.glob("staging/*"))
    return str(caught.value)


def test_what_makes_no_model_is_refused_in_ollamas_words(bench: Bench) -> None:
    tiny = bench.add()
    text = bench.store.blobs.put_bytes(b"hello")
    assert refusal(bench, files={}) == "neither 'from' or 'files' was specified"
    assert refusal(bench, files={"x.gguf": text}) == "supplied file was not in GGUF format"
    assert refusal(bench, files={"x.bin": text}) == "unknown type"
    for name in ("/etc/x.gguf", "../x.gguf", "a/../../x.gguf", ""):
        assert refusal(bench, files={name: tiny}) == "file path must be relative"
    two = {"a.gguf": tiny, "b.gguf": tiny}
    assert refusal(bench, adapters=two) == "only one adapter is currently supported"
    assert refusal(bench, adapters={"a.gguf": tiny}) == "a.gguf is no adapter"
    assert "2 of the files hold a model's weights" in refusal(bench, files=two)
    shards = {f"m-0000{n}-of-00002.gguf": tiny for n in (1, 2)}
    assert "split.no is None" in refusal(bench, files=shards)
    absent = Digest("sha256:" + "0" * 64)
    assert "is missing" in refusal(bench, files={"x.gguf": absent})


def test_a_broken_gguf_is_refused_by_its_name(bench: Bench) -> None:
    cut = bench.add("cut.gguf", GgufFile(data=b""))
    assert refusal(bench, files={"cut.gguf": cut}).startswith("cut.gguf: truncated: needs ")


def test_parameters_and_info_are_checked(bench: Bench) -> None:
    assert refusal(bench, parameters={"temprature": 1}) == "unknown parameter 'temprature'"
    assert "must be of type float32" in refusal(bench, parameters={"temperature": "hot"})
    assert 'option "mirostat" must be 0 to 2' in refusal(bench, parameters={"mirostat": 3})
    assert kinds(bench.make("old", parameters={"use_mlock": True, "tfs_z": 1.0})) == ["model"]
    assert 'info field "model_family" must be a string' in refusal(bench, info={"model_family": 1})
    assert "must be a non-negative integer" in refusal(bench, info={"context_length": -1})
    spec = bench.spec(
        bench.make(
            "told", info={"parameter_size": "7B", "context_length": 5, "capabilities": ["x"]}
        )
    )
    assert (spec.config.model_type, spec.config.context_length) == ("7B", 5)
    assert spec.config.capabilities == ("x",)


def test_nothing_is_made_when_nobody_waits_any_more(bench: Bench) -> None:
    digest = bench.add()
    bench.cancelled.set()
    with pytest.raises(Cancelled):
        bench.make("unwanted", files={"tiny.gguf": digest}, system="x")
    assert bench.store.list() == []


def test_stored_parameters_of_the_wrong_type_name_the_model(bench: Bench) -> None:
    stored = bench.make("odd", parameters={"seed": 1})
    raw = json.dumps({"seed": "one"}).encode()
    digest = bench.store.blobs.put_bytes(raw)
    layers = [
        layer
        if layer.media_type != mediatypes.OLLAMA_PARAMS
        else type(layer)(media_type=layer.media_type, digest=digest, size_bytes=len(raw))
        for layer in stored.manifest.layers
    ]
    manifest = type(stored.manifest).build(stored.manifest.config, layers)
    bench.store.put(stored.reference, manifest)
    with pytest.raises(ModelUnloadable, match='odd:latest: option "seed" must be of type integer'):
        bench.spec(bench.store.load(stored.reference))


def test_parts_are_put_together_and_a_cancelled_merge_leaves_nothing(bench: Bench) -> None:
    files = {}
    for no, name in enumerate(("a", "b")):
        metadata = {"split.no": number(UINT32, no), "split.count": number(UINT32, 2)}
        metadata |= {"general.architecture": string("llama")} if no == 0 else {}
        file = GgufFile(metadata=metadata, tensors=(Row(name=name),))
        files[f"m-0000{no + 1}-of-00002.gguf"] = bench.add(f"{name}.gguf", file)
    before = set(bench.store.root.rglob("*"))
    bench.cancelled.set()
    with pytest.raises(Cancelled):
        bench.make("m", files=files)
    assert {path for path in bench.store.root.rglob("*") if path.is_file()} <= before
    bench.cancelled.clear()
    spec = bench.spec(bench.make("m", files=files))
    assert [tensor.name for tensor in spec.gguf.tensors] == ["a", "b"]
    assert "split.count" not in spec.gguf.metadata
