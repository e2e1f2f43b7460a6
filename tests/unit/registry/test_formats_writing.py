"""From one format to another and back: the same blobs, the same manifest, the same model."""

import json
from pathlib import Path

import pytest

from olmkit.registry import formats
from olmkit.registry.errors import SourceError
from olmkit.registry.formats import Format, Role
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.store.store import Store
from support.formats import LICENSE, PROJECTOR, WEIGHTS
from support.stores import descriptor


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def ollama_model(store: Store) -> Manifest:
    """One with every kind of layer, and one that nobody knows."""
    config = ModelConfig(
        model_format="gguf",
        model_family="llama",
        model_type="135M",
        file_type="Q4_1",
        renderer="x",
        capabilities=("completion", "tools"),
    )
    contents = [
        (mediatypes.OLLAMA_MODEL, WEIGHTS),
        (mediatypes.OLLAMA_PROJECTOR, PROJECTOR),
        (mediatypes.OLLAMA_ADAPTER, b"GGUF adapter"),
        (mediatypes.OLLAMA_TEMPLATE, b"{{ .Prompt }}"),
        (mediatypes.OLLAMA_SYSTEM, b"Be brief."),
        (mediatypes.OLLAMA_PARAMS, b'{"temperature":0.5}'),
        (mediatypes.OLLAMA_MESSAGES, b'[{"role":"user","content":"hi"}]'),
        (mediatypes.OLLAMA_LICENSE, LICENSE),
        (mediatypes.OLLAMA_LICENSE, b"one more"),
        ("application/vnd.ollama.image.future", b"unknown"),
        ("application/vnd.example.thing", b"of others"),
    ]
    layers = [descriptor(store, kind, store.blobs.put_bytes(data)) for kind, data in contents]
    first = layers[0]
    layers[0] = Descriptor(
        media_type=first.media_type,
        digest=first.digest,
        size_bytes=first.size_bytes,
        from_="/models/base",
    )
    digest = store.blobs.put_bytes(config.to_json())
    return Manifest.build(descriptor(store, mediatypes.DOCKER_CONFIG, digest), layers)


@pytest.mark.parametrize(
    "way",
    [
        [Format.MODELPACK],
        [Format.DOCKER],
        [Format.MODELPACK, Format.DOCKER, Format.MODELPACK],
        [Format.OLLAMA],
    ],
)
def test_a_model_comes_back_as_the_same_manifest(store: Store, way: list[Format]) -> None:
    original = ollama_model(store)
    before = formats.read(store, original)
    manifest = original
    for format_ in way:
        manifest = formats.write(store, formats.read(store, manifest), format_)
        assert formats.format_of(manifest) is format_
        parts = formats.read(store, manifest)
        assert parts.config == before.config
        assert [(p.role, p.digest) for p in parts.parts] == [
            (p.role, p.digest) for p in before.parts
        ]
    back = formats.write(store, formats.read(store, manifest), Format.OLLAMA)
    assert back.raw == original.raw


def test_modelpack_is_written_as_its_schema_wants_it(store: Store) -> None:
    manifest = formats.write(store, formats.read(store, ollama_model(store)), Format.MODELPACK)
    value = json.loads(manifest.raw)
    assert value["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert value["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert value["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    weights = value["layers"][0]
    assert weights["mediaType"] == "application/vnd.cncf.model.weight.v1.raw"
    assert weights["annotations"]["org.cncf.model.filepath"] == "model.gguf"
    assert weights["annotations"]["org.opencontainers.image.title"] == "model.gguf"
    names = [
        layer.get("annotations", {}).get("org.cncf.model.filepath") for layer in value["layers"]
    ]
    named = [name for name in names if name]
    assert len(named) == len(set(named))
    config = json.loads(store.blobs.path(manifest.config.digest).read_bytes())
    assert set(config) <= {"descriptor", "config", "modelfs"}
    assert config["modelfs"] == {
        "type": "layers",
        "diffIds": [layer["digest"] for layer in value["layers"]],
    }
    assert config["config"]["paramSize"] == "135M"
    assert config["config"]["capabilities"]["toolUsage"] is True


def test_docker_is_written_as_its_specification_wants_it(store: Store) -> None:
    manifest = formats.write(store, formats.read(store, ollama_model(store)), Format.DOCKER)
    assert manifest.config.media_type == "application/vnd.docker.ai.model.config.v0.1+json"
    assert [layer.media_type for layer in manifest.layers[:2]] == [
        "application/vnd.docker.ai.gguf.v3",
        "application/vnd.docker.ai.mmproj",
    ]
    config = json.loads(store.blobs.path(manifest.config.digest).read_bytes())
    assert config["config"]["format"] == "gguf"
    assert len(config["rootfs"]["diff_ids"]) == len(manifest.layers)


def test_writing_twice_gives_the_same_bytes(store: Store) -> None:
    parts = formats.read(store, ollama_model(store))
    for format_ in (Format.MODELPACK, Format.DOCKER, Format.OLLAMA):
        assert formats.write(store, parts, format_).raw == formats.write(store, parts, format_).raw


def test_formats_that_are_only_read_are_refused(store: Store) -> None:
    parts = formats.read(store, ollama_model(store))
    with pytest.raises(SourceError, match="writes none"):
        formats.write(store, parts, Format.KITOPS)


def test_a_model_without_weights_is_not_written(store: Store) -> None:
    parts = formats.read(store, ollama_model(store))
    bare = formats.ModelParts(
        format=parts.format, config=parts.config, parts=parts.of(Role.LICENSE)
    )
    for format_ in (Format.MODELPACK, Format.DOCKER, Format.OLLAMA):
        with pytest.raises(SourceError, match="no GGUF weights"):
            formats.write(store, bare, format_)
