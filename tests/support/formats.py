"""Models of a few bytes in the formats of others, their manifests written by hand."""

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

import zstandard

from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.manifest import Manifest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store

WEIGHTS = b"GGUF" + bytes(range(256)) * 16
PROJECTOR = b"GGUF projector" + bytes(512)
JINJA = b"{% for m in messages %}{{ m.content }}{% endfor %}"
LICENSE = b"Apache License 2.0, in short"


def tar(files: Mapping[str, bytes], *, links: Mapping[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return out.getvalue()


def packed(data: bytes, how: str) -> bytes:
    match how:
        case "gzip":
            return gzip.compress(data, mtime=0)
        case "zstd":
            return zstandard.ZstdCompressor().compress(data)
    return data


def stored(
    store: Store,
    config: tuple[str, Any],
    layers: Sequence[tuple[str, bytes, Mapping[str, str]]],
    *,
    media_type: str = mediatypes.OCI_MANIFEST,
    artifact_type: str | None = None,
) -> Manifest:
    """The manifest as its makers write it: plain JSON, blobs in the store."""

    def descriptor(kind: str, data: bytes, notes: Mapping[str, str]) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "mediaType": kind,
            "digest": str(store.blobs.put_bytes(data)),
            "size": len(data),
        }
        return entry | ({"annotations": dict(notes)} if notes else {})

    value: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
    if artifact_type:
        value["artifactType"] = artifact_type
    kind, body = config
    value["config"] = descriptor(kind, json.dumps(body).encode(), {})
    value["layers"] = [descriptor(*layer) for layer in layers]
    return Manifest.parse(json.dumps(value, indent=2).encode())


def put_shards(store: Store, name: str, shards: Sequence[bytes]) -> Manifest:
    """A model whose weights are several layers, in an order that is not theirs, as ModelPack."""
    kind = "application/vnd.cncf.model.weight.v1.raw"
    count = len(shards)
    manifest = stored(
        store,
        ("application/vnd.cncf.model.config.v1+json", {}),
        [
            (kind, data, {"org.cncf.model.filepath": f"m-{number:05d}-of-{count:05d}.gguf"})
            for number, data in reversed(list(enumerate(shards, 1)))
        ],
    )
    store.put(Reference.parse(name), manifest)
    return manifest
