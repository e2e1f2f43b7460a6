"""Manifests and indexes: reading leniently, keeping bytes, writing the same way twice."""

import json

import pytest

from olmkit.registry.errors import InvalidManifest
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import MANIFEST_LIMIT_BYTES, Descriptor, Index, Manifest

A, B = Digest.of(b"a"), Digest.of(b"b")
CONFIG = Descriptor(media_type=mediatypes.DOCKER_CONFIG, digest=A, size_bytes=486)
MODEL = Descriptor(media_type=mediatypes.OLLAMA_MODEL, digest=B, size_bytes=4661211424)

OLLAMAS = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",\n'
    b' "layers":[{"digest":"%b","size":4661211424,"from":"/tmp/x","name":"blk.0",\n'
    b'   "mediaType":"application/vnd.ollama.image.model","later":[1,{"a":null}]}],\n'
    b' "config":{"size":486,"mediaType":"application/vnd.docker.container.image.v1+json",\n'
    b'   "digest":"%b"},"unknown":true}\n'
) % (B.encode(), A.encode())


def test_ollamas_manifest_is_read_in_any_order_with_unknown_members() -> None:
    manifest = Manifest.parse(OLLAMAS)
    assert manifest.raw == OLLAMAS
    assert manifest.digest == Digest.of(OLLAMAS)
    assert manifest.media_type == mediatypes.DOCKER_MANIFEST
    assert manifest.config == CONFIG
    (layer,) = manifest.layers
    assert (layer.digest, layer.from_, layer.name) == (B, "/tmp/x", "blk.0")
    assert isinstance(layer.digest, Digest)
    assert manifest.size_bytes == 4661211424 + 486
    assert manifest.blobs == (manifest.config, layer)


def test_an_oci_manifest_keeps_artifact_type_annotations_and_subject() -> None:
    wire = {
        "schemaVersion": 2,
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": {"mediaType": mediatypes.OCI_EMPTY, "digest": A, "size": 2, "data": "e30="},
        "layers": [{"mediaType": "x/y", "digest": B, "size": 1, "annotations": {"t": "m.gguf"}}],
        "subject": {"mediaType": "x/z", "digest": A, "size": 3},
        "annotations": {"k": "v"},
    }
    manifest = Manifest.parse(json.dumps(wire).encode())
    assert manifest.media_type == mediatypes.OCI_MANIFEST
    assert manifest.artifact_type == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest.annotations == {"k": "v"}
    assert manifest.layers[0].annotations == {"t": "m.gguf"}
    assert manifest.subject is not None and manifest.subject.digest == A


def test_null_counts_as_absent() -> None:
    wire = {
        "schemaVersion": 2,
        "mediaType": None,
        "config": {"mediaType": "c", "digest": A, "size": 2, "annotations": None},
        "layers": None,
    }
    manifest = Manifest.parse(json.dumps(wire).encode())
    assert (manifest.layers, manifest.config.annotations) == ((), {})


def test_building_gives_equal_bytes_that_parse_back() -> None:
    layer = Descriptor(
        media_type="x/y", digest=B, size_bytes=1, annotations={"b": "ü", "a": "1"}, from_="me/m"
    )
    first = Manifest.build(CONFIG, [MODEL, layer], annotations={"z": "1", "y": "2"})
    again = Manifest.build(CONFIG, [MODEL, layer], annotations={"y": "2", "z": "1"})
    assert first.raw == again.raw
    assert (first.config, first.layers) == (CONFIG, (MODEL, layer))
    assert first.annotations == {"y": "2", "z": "1"}
    assert json.loads(first.raw)["layers"][1]["from"] == "me/m"


def test_a_built_manifest_has_ollamas_members_in_ollamas_order() -> None:
    raw = Manifest.build(CONFIG, [MODEL]).raw
    assert raw == (
        b'{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",'
        b'"config":{"mediaType":"application/vnd.docker.container.image.v1+json",'
        b'"digest":"%b","size":486},"layers":[{"mediaType":"application/vnd.ollama.image.model",'
        b'"digest":"%b","size":4661211424}]}' % (A.encode(), B.encode())
    )


def _with(**members: object) -> bytes:
    wire: dict[str, object] = {
        "schemaVersion": 2,
        "config": {"mediaType": "c", "digest": A, "size": 2},
        "layers": [],
    }
    return json.dumps(wire | members).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"<html>",
        b"\xff\xfe",
        _with()[:-1],
        _with(schemaVersion=1),
        _with(config=None),
        _with(config={"mediaType": "c", "digest": "", "size": 0}),
        _with(config={"mediaType": "c", "digest": "sha256:../../x", "size": 0}),
        _with(config={"mediaType": "c", "digest": 7, "size": 0}),
        _with(config={"mediaType": "c", "digest": A, "size": -1}),
        _with(config={"mediaType": "c", "digest": A, "size": "2"}),
        _with(config={"mediaType": "c", "digest": A}),
        _with(layers={}),
        _with(layers=[1]),
        _with(annotations={"a": 1}),
        b"[" * 100_000,
        b'{"config":' * 100_000,
        b" " * MANIFEST_LIMIT_BYTES + _with(),
    ],
)
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidManifest, match=r"^the manifest "):
        Manifest.parse(raw)


def test_an_index_lists_manifests_with_platforms() -> None:
    wire = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [
            {
                "mediaType": mediatypes.OCI_MANIFEST,
                "digest": A,
                "size": 7,
                "artifactType": "x/q4",
                "platform": {"os": "linux", "architecture": "arm64", "os.features": ["x"]},
            }
        ],
    }
    index = Index.parse(json.dumps(wire).encode())
    (entry,) = index.manifests
    assert (entry.digest, entry.artifact_type) == (A, "x/q4")
    assert entry.platform is not None and entry.platform["architecture"] == "arm64"
    with pytest.raises(InvalidManifest):
        Index.parse(_with())
