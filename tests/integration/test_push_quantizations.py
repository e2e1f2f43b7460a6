"""Several quantizations under one name: pushed as an index, one of them pulled."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.registry.errors import ModelNotFound, SourceError
from olmkit.registry.events import Event, Status
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.manifest import Descriptor, Index, Manifest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.oci.reference import Reference
from olmkit.registry.push import transfer
from olmkit.registry.push.quantizations import QUANTIZATION, push_quantizations
from olmkit.registry.push.transfer import PushOptions
from olmkit.registry.sources import PullOptions, pull
from olmkit.registry.sources.oci import choose
from olmkit.registry.store.store import Store
from support.debian_registry import debian_registry
from support.registry import Registry, serving
from support.stores import descriptor

SIZES = {"Q4_K_M": 40_000, "Q8_0": 80_000, "F16": 160_000}


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as registry:
        yield registry


def put(store: Store, name: str, quantization: str, *, fill: bytes = b"\0") -> None:
    config = ModelConfig(model_format="gguf", file_type=quantization)
    weights = b"GGUF" + fill * (SIZES.get(quantization, 1000) - 4)
    made = Manifest.build(
        descriptor(store, mediatypes.DOCKER_CONFIG, store.blobs.put_bytes(config.to_json())),
        [descriptor(store, mediatypes.OLLAMA_MODEL, store.blobs.put_bytes(weights))],
    )
    store.put(Reference.parse(name), made)


def push(store: Store, name: str, format_: str | None = None) -> list[Event]:
    events: list[Event] = []
    push_quantizations(
        Reference.parse(name),
        store,
        RemoteAccess(),
        on_event=events.append,
        cancelled=threading.Event(),
        options=PushOptions(format=format_),
    )
    return events


def pulled(root: Path, name: str, **how: object) -> tuple[int, list[str]]:
    """The size of the weights that were taken, and what was said."""
    store, events = Store(root), list[Event]()
    model = pull(
        Reference.parse(name),
        store,
        on_event=events.append,
        cancelled=threading.Event(),
        describe=lambda path: ModelConfig(),
        options=PullOptions(**how),  # type: ignore[arg-type]
    )
    sizes = [layer.size_bytes for layer in model.manifest.layers]
    return max(sizes), [event.text for event in events if isinstance(event, Status)]


@pytest.fixture
def name(registry: Registry, tmp_path: Path) -> str:
    """Of an index of three quantizations in the registry."""
    store, repository = Store(tmp_path / "store"), f"{registry.host}/team/m"
    for quantization in SIZES:
        put(store, f"{repository}:{quantization.lower()}", quantization)
    push(store, f"{repository}:1")
    return f"{repository}:1"


def test_the_index_says_what_it_holds_smallest_first(registry: Registry, name: str) -> None:
    media_type, raw = registry.manifests["team/m", "1"]
    index = Index.parse(raw)
    assert media_type == index.media_type == mediatypes.OCI_INDEX
    assert [entry.annotations[QUANTIZATION] for entry in index.manifests] == list(SIZES)
    for entry in index.manifests:
        media_type, raw = registry.manifests["team/m", str(entry.digest)]
        assert (media_type, len(raw)) == (entry.media_type, entry.size_bytes)
        assert entry.artifact_type == Manifest.parse(raw).artifact_type


@pytest.mark.parametrize(
    ("memory", "expected"),
    [(10_000_000, "F16"), (150_000, "Q8_0"), (60_000, "Q4_K_M"), (10_000, "Q4_K_M")],
)
def test_the_largest_that_fits_the_memory_is_taken_and_told(
    name: str, tmp_path: Path, memory: int, expected: str
) -> None:
    size, said = pulled(tmp_path / "other", name, memory_bytes=memory)
    assert size == SIZES[expected]
    assert any(f"taking {expected}" in text and "memory" in text for text in said)


def test_what_is_asked_for_goes_before_what_fits(name: str, tmp_path: Path) -> None:
    size, _ = pulled(tmp_path / "other", name, memory_bytes=10_000_000, quantization="q4_k_m")
    assert size == SIZES["Q4_K_M"]


def test_a_quantization_that_is_not_there_is_refused_with_those_that_are(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelNotFound, match="has no quantization Q2_K") as found:
        pulled(tmp_path / "other", name, quantization="Q2_K")
    assert found.value.hint == "it has: Q4_K_M, Q8_0, F16"


@pytest.mark.parametrize("format_", [None, "ollama", "docker"])
def test_one_model_of_another_quantization_is_refused_too(
    registry: Registry, tmp_path: Path, format_: str | None
) -> None:
    store, name = Store(tmp_path / "store"), f"{registry.host}/team/one:1"
    put(store, name, "Q8_0")
    transfer.push_model(
        store.load(Reference.parse(name)),
        store,
        RemoteAccess(),
        on_event=lambda event: None,
        cancelled=threading.Event(),
        options=PushOptions(format=format_),
    )
    with pytest.raises(ModelNotFound, match="has no quantization Q4_K_M") as found:
        pulled(tmp_path / "other", name, quantization="Q4_K_M")
    assert str(found.value.hint).startswith("it has: ")
    assert "Q8_0" in str(found.value.hint)
    assert Store(tmp_path / "other").list() == []
    assert pulled(tmp_path / "other", name, quantization="q8_0")[0] == SIZES["Q8_0"]


@pytest.mark.parametrize("format_", [None, "ollama", "docker"])
def test_another_registry_takes_the_index_too(tmp_path: Path, format_: str | None) -> None:
    with debian_registry(tmp_path / "debian") as registry:
        store, repository = Store(tmp_path / "store"), f"{registry.host}/team/m"
        for quantization in ("Q4_K_M", "Q8_0"):
            put(store, f"{repository}:{quantization.lower()}", quantization)
        push(store, repository, format_)
        size, _ = pulled(tmp_path / "other", repository, quantization="Q8_0")
    assert size == SIZES["Q8_0"]


def test_the_same_model_under_two_tags_is_listed_once(registry: Registry, tmp_path: Path) -> None:
    store, repository = Store(tmp_path / "store"), f"{registry.host}/team/m"
    for tag in ("q8_0", "latest"):
        put(store, f"{repository}:{tag}", "Q8_0")
    push(store, repository)
    assert len(Index.parse(registry.manifests["team/m", "latest"][1]).manifests) == 1


def test_two_models_of_one_quantization_are_refused(registry: Registry, tmp_path: Path) -> None:
    store, repository = Store(tmp_path / "store"), f"{registry.host}/team/m"
    put(store, f"{repository}:a", "Q8_0")
    put(store, f"{repository}:b", "Q8_0", fill=b"\1")
    with pytest.raises(SourceError, match="are both Q8_0"):
        push(store, repository)
    assert registry.manifests == {}


def test_a_model_without_a_quantization_is_refused(registry: Registry, tmp_path: Path) -> None:
    store, repository = Store(tmp_path / "store"), f"{registry.host}/team/m"
    put(store, f"{repository}:a", "")
    with pytest.raises(SourceError, match="does not say its quantization"):
        push(store, repository)


def test_a_repository_without_models_is_refused(registry: Registry, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    put(store, f"{registry.host}/team/other:a", "Q8_0")
    with pytest.raises(ModelNotFound, match="no model here has a name in"):
        push(store, f"{registry.host}/team/m")


def platform_entry(letter: str, **platform: str) -> Descriptor:
    digest = f"sha256:{letter * 64}"
    return Descriptor(digest=digest, size_bytes=1, platform=platform or None)  # type: ignore[arg-type]


def test_without_quantizations_the_platform_decides() -> None:
    amd = platform_entry("a", os="linux", architecture="amd64")
    arm = platform_entry("b", os="linux", architecture="arm64")
    anyone = platform_entry("c")
    attestation = platform_entry("d", os="unknown", architecture="unknown")
    for listed, expected in (
        ([amd, anyone, arm], arm),
        ([amd, anyone], anyone),
        ([attestation, amd], amd),
    ):
        choice = choose(listed, PullOptions(), "m", system="Linux", machine="aarch64")
        assert choice.descriptor is expected
    with pytest.raises(ModelNotFound, match="lists no model"):
        choose([attestation], PullOptions(), "m")
