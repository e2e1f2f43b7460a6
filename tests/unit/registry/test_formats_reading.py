"""Every format is read into the same parts; the manifests follow the specifications' examples."""

from pathlib import Path
from typing import Any

import pytest

from olmkit.registry import formats
from olmkit.registry.errors import SourceError
from olmkit.registry.formats import Format, Role
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store
from support.formats import JINJA, LICENSE, PROJECTOR, WEIGHTS, packed, stored, tar

GGUF = Digest.of(WEIGHTS)
MODELPACK_CONFIG: dict[str, Any] = {
    "descriptor": {"createdAt": "2025-01-01T00:00:00Z", "family": "qwen2", "name": "qwen2.5"},
    "config": {"format": "gguf", "paramSize": "0.5b", "quantization": "Q4_K_M"},
    "modelfs": {"type": "layers", "diffIds": [str(GGUF)]},
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.mark.parametrize("vendor", ["cncf", "cnai"])
@pytest.mark.parametrize("how", ["raw", "tar", "gzip", "zstd"])
def test_modelpack_is_read_raw_and_packed_under_both_names(
    store: Store, vendor: str, how: str
) -> None:
    suffix = {"raw": "raw", "tar": "tar", "gzip": "tar+gzip", "zstd": "tar+zstd"}[how]
    weights = WEIGHTS if how == "raw" else packed(tar({"model/q.gguf": WEIGHTS}), how)
    manifest = stored(
        store,
        (f"application/vnd.{vendor}.model.config.v1+json", MODELPACK_CONFIG),
        [
            (
                f"application/vnd.{vendor}.model.weight.v1.{suffix}",
                weights,
                {f"org.{vendor}.model.filepath": "model/q.gguf"},
            ),
            (
                f"application/vnd.{vendor}.model.doc.v1.raw",
                LICENSE,
                {f"org.{vendor}.model.filepath": "LICENSE"},
            ),
            (
                f"application/vnd.{vendor}.model.code.v1.raw",
                b"print()",
                {f"org.{vendor}.model.filepath": "serve.py"},
            ),
        ],
        artifact_type=f"application/vnd.{vendor}.model.manifest.v1+json",
    )
    parts = formats.read(store, manifest)
    assert parts.format is Format.MODELPACK
    assert [part.digest for part in parts.weights] == [GGUF]
    assert store.blobs.check(GGUF, len(WEIGHTS)).read_bytes() == WEIGHTS
    assert [part.digest for part in parts.of(Role.LICENSE)] == [Digest.of(LICENSE)]
    assert [part.name for part in parts.of(Role.OTHER)] == ["serve.py"]
    assert (parts.config.model_family, parts.config.model_type) == ("qwen2", "0.5b")
    assert parts.config.file_type == "Q4_K_M"


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_docker_model_runner_is_read_in_both_versions(store: Store, version: str) -> None:
    prefix = "application/vnd.docker.ai."
    notes = {"org.cncf.model.filepath": "m.gguf"} if version == "0.2" else {}
    body = {
        "config": {
            "format": "gguf",
            "quantization": "IQ2_XXS/Q4_K_M",
            "parameters": "361.82 M",
            "architecture": "llama",
            "size": "256.35 MiB",
        },
        "descriptor": {"created": "2025-04-15T14:57:50Z"},
        "rootfs": {"type": "rootfs", "diff_ids": [str(GGUF)]},
    }
    manifest = stored(
        store,
        (f"{prefix}model.config.v{version}+json", body),
        [
            (prefix + "gguf.v3", WEIGHTS, notes),
            (prefix + "mmproj", PROJECTOR, {}),
            (prefix + "chat.template.jinja", JINJA, {}),
            (prefix + "license", LICENSE, {}),
        ],
    )
    parts = formats.read(store, manifest)
    assert parts.format is Format.DOCKER
    assert [part.digest for part in parts.weights] == [GGUF]
    assert [part.digest for part in parts.of(Role.PROJECTOR)] == [Digest.of(PROJECTOR)]
    assert [part.digest for part in parts.of(Role.CHAT_TEMPLATE)] == [Digest.of(JINJA)]
    assert [part.digest for part in parts.of(Role.LICENSE)] == [Digest.of(LICENSE)]
    assert parts.config.model_family == "llama"


def test_docker_layers_of_gguf_in_order_are_shards(store: Store) -> None:
    kind = "application/vnd.docker.ai.gguf.v3"
    shards = [WEIGHTS + bytes([n]) for n in range(3)]
    manifest = stored(
        store,
        ("application/vnd.docker.ai.model.config.v0.1+json", {}),
        [(kind, shard, {}) for shard in shards],
    )
    read = formats.read(store, manifest)
    assert [part.digest for part in read.weights] == [Digest.of(shard) for shard in shards]


def test_shards_are_sorted_by_their_numbers_and_other_weights_left_out(store: Store) -> None:
    kind = "application/vnd.cncf.model.weight.v1.raw"
    names = ["a-00002-of-00002.gguf", "a-00001-of-00002.gguf", "b.gguf"]
    manifest = stored(
        store,
        ("application/vnd.cncf.model.config.v1+json", MODELPACK_CONFIG),
        [(kind, WEIGHTS + name.encode(), {"org.cncf.model.filepath": name}) for name in names],
    )
    parts = formats.read(store, manifest)
    assert [part.name for part in parts.weights] == sorted(names)[:2]
    assert [part.name for part in parts.of(Role.OTHER)] == ["b.gguf"]


@pytest.mark.parametrize("how", ["tar", "gzip", "zstd"])
def test_kitops_layers_are_unpacked(store: Store, how: str) -> None:
    prefix = "application/vnd.kitops.modelkit."
    suffix = "tar" if how == "tar" else f"tar+{how}"
    kitfile = {
        "manifestVersion": "1.0.0",
        "package": {"name": "smol"},
        "model": {"name": "smol", "path": "./smol.gguf", "framework": "llama.cpp"},
    }
    manifest = stored(
        store,
        (prefix + "config.v1+json", kitfile),
        [
            (f"{prefix}model.v1.{suffix}", packed(tar({"smol.gguf": WEIGHTS}), how), {}),
            (f"{prefix}docs.v1.{suffix}", packed(tar({"LICENSE": LICENSE}), how), {}),
            (f"{prefix}dataset.v1.{suffix}", packed(tar({"d.csv": b"1,2"}), how), {}),
        ],
    )
    parts = formats.read(store, manifest)
    assert parts.format is Format.KITOPS
    assert [part.digest for part in parts.weights] == [GGUF]
    assert [part.digest for part in parts.of(Role.LICENSE)] == [Digest.of(LICENSE)]
    assert [part.digest for part in parts.of(Role.OTHER)] == [manifest.layers[2].digest]
    assert parts.config.base_name == "smol"


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip"),
        ("application/vnd.oci.image.layer.v1.tar+zstd", "zstd"),
        ("application/vnd.oci.image.layer.v1.tar", "tar"),
    ],
)
def test_ramalama_images_give_the_file_that_their_link_names(
    store: Store, kind: str, how: str
) -> None:
    layer = tar(
        {
            "models/blobs/draft.gguf": PROJECTOR,
            "models/blobs/sha256-1": WEIGHTS,
            "etc/passwd": b"root",
            "usr/share/other.gguf": WEIGHTS + b"other",
        },
        links={"models/model.file": "blobs/sha256-1", "bin": "usr/bin"},
    )
    manifest = stored(
        store,
        (
            "application/vnd.oci.image.config.v1+json",
            {"config": {"Labels": {"org.containers.type": "ai.image.model.raw"}}},
        ),
        [(kind, packed(layer, how), {})],
    )
    parts = formats.read(store, manifest)
    assert parts.format is Format.IMAGE
    assert [part.digest for part in parts.weights] == [GGUF]


def test_oras_artifacts_are_known_by_title_and_by_magic(store: Store) -> None:
    empty: tuple[str, Any] = ("application/vnd.oci.empty.v1+json", {})
    kind = "application/vnd.oci.image.layer.v1.tar"
    titled = stored(
        store,
        empty,
        [
            (kind, b"# about", {mediatypes.ANNOTATION_TITLE: "README.md"}),
            (kind, WEIGHTS, {mediatypes.ANNOTATION_TITLE: "model.gguf"}),
        ],
        artifact_type="application/vnd.example",
    )
    nameless = stored(store, empty, [("application/octet-stream", WEIGHTS, {})])
    folder = stored(
        store,
        empty,
        [
            (
                kind + "+gzip",
                packed(tar({"m/model.gguf": WEIGHTS}), "gzip"),
                {mediatypes.ANNOTATION_TITLE: "m", "io.deis.oras.content.unpack": "true"},
            )
        ],
    )
    for manifest in (titled, nameless, folder):
        parts = formats.read(store, manifest)
        assert parts.format is Format.GENERIC
        assert [part.digest for part in parts.weights] == [GGUF]
    assert len(formats.read(store, titled).of(Role.OTHER)) == 1


def test_what_was_unpacked_lives_as_long_as_its_layer(store: Store) -> None:
    manifest = stored(
        store,
        ("application/vnd.cncf.model.config.v1+json", MODELPACK_CONFIG),
        [("application/vnd.cncf.model.weight.v1.tar", tar({"m.gguf": WEIGHTS}), {})],
    )
    name = Reference.parse("ghcr.io/a/packed")
    store.put(name, manifest)
    formats.read(store, manifest)
    assert store.collect(grace_s=-10).unused == ()
    assert store.blobs.has(GGUF)

    store.blobs.discard(GGUF)  # as Ollama would, which knows of no unpacked files
    assert [part.digest for part in formats.read(store, manifest).weights] == [GGUF]
    assert store.blobs.has(GGUF)

    store.remove(name)
    store.collect(grace_s=-10)
    assert not store.blobs.has(GGUF)
    assert list(store.blobs.unpacked.iterdir()) == []


def test_a_modelkit_whose_model_is_another_one_says_so(store: Store) -> None:
    prefix = "application/vnd.kitops.modelkit."
    manifest = stored(
        store,
        (prefix + "config.v1+json", {"model": {"path": "ghcr.io/a/base:v1"}}),
        [(prefix + "docs.v1.tar", tar({"LICENSE": LICENSE}), {})],
    )
    with pytest.raises(SourceError, match=r"another one, 'ghcr\.io/a/base:v1'"):
        formats.read(store, manifest)
