"""The CNCF's ModelPack, 0.0.7, with the names that it had before (`cnai`).

The config's schema allows no members of others, so what the format has no place for goes into
layers, told by annotations.
Source: https://github.com/modelpack/model-spec/blob/v0.0.7/docs/spec.md
"""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from olmkit.registry.errors import SourceError
from olmkit.registry.formats import docker
from olmkit.registry.formats.layers import assemble, member, read_config, text
from olmkit.registry.formats.parts import (
    ANNOTATION_MEDIA_TYPE,
    Format,
    ModelParts,
    Part,
    Role,
    names_of,
    notes_for,
)
from olmkit.registry.formats.unpacking import Bench
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import MANIFEST_LIMIT_BYTES, Descriptor, Manifest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.store.store import Store

if TYPE_CHECKING:  # zstandard is seldom needed
    from olmkit.registry.formats.packing import Packed

ARTIFACT_TYPE: Final = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE: Final = "application/vnd.cncf.model.config.v1+json"
PREFIXES: Final = ("application/vnd.cncf.model.", "application/vnd.cnai.model.")
ANNOTATION_PATH: Final = "org.cncf.model.filepath"
ANNOTATION_CONTENT: Final = "dev.olmkit.content-digest"
"""Annotation of a packed layer: the digest of the file in it."""
_PACKED_LAYER: Final = "application/vnd.cncf.model.{}.v1.tar+zstd"
_LAYER: Final = "application/vnd.cncf.model.{}.v1.raw"
_CLASSES: Final = {
    Role.WEIGHTS: "weight",
    Role.PROJECTOR: "weight",
    Role.ADAPTER: "weight",
    Role.DRAFT: "weight",
    Role.LICENSE: "doc",
    Role.OTHER: "doc",
}
"""Layer classes; all others are `weight.config`."""


Put = Callable[[bytes], Digest]
"""Keeps a small blob."""


def matches(manifest: Manifest) -> bool:
    """Whether the manifest is in this format."""
    types = (manifest.artifact_type or "", manifest.config.media_type)
    return any(name.startswith(PREFIXES) for name in types)


def read(bench: Bench, manifest: Manifest) -> ModelParts:
    """The model; its packed layers are unpacked first.

    Raises:
        SourceError: a packed layer is not acceptable.
        StoreError: a blob cannot be read.
    """
    given = read_config(bench.store, manifest.config)
    about, config = member(given, "descriptor"), member(given, "config")
    return assemble(
        bench,
        manifest,
        Format.MODELPACK,
        ModelConfig(
            model_format=text(config, "format"),
            model_family=text(about, "family"),
            model_type=text(config, "paramSize"),
            file_type=text(config, "quantization"),
            base_name=text(about, "name"),
        ),
        roles=docker.ROLES,  # Docker writes those into manifests of this kind
    )


def write(
    store: Store, parts: ModelParts, packed: "Mapping[Digest, Packed] | None" = None
) -> Manifest:
    """A manifest of this format; small blobs that it needs are put into the store.

    Equal models give equal bytes. Every layer is raw, so its digest is that of the file, but for
    the files that `packed` has a layer for.

    Raises:
        SourceError: there are no weights.
        StoreError, DiskFull: a blob cannot be written.
    """
    if not parts.weights:
        raise SourceError("the model holds no GGUF weights")
    return _written(store.blobs.put_bytes, parts, (), packed)


def wrap(manifest: Manifest, parts: ModelParts, put: Put) -> Manifest:
    """`write`, with the bytes of the manifest that the parts are from, for `unwrap`.

    `put` keeps a small new blob and returns its digest; it raises what this raises.
    """
    layer = Descriptor(
        media_type=mediatypes.DOCKER_MANIFEST,
        digest=put(manifest.raw),
        size_bytes=len(manifest.raw),
    )
    part = Part(role=Role.MANIFEST, digest=layer.digest, size_bytes=layer.size_bytes, layer=layer)
    return _written(put, parts, (part,))


def unwrap(store: Store, manifest: Manifest) -> Manifest | None:
    """The manifest that `wrap` was given; `None` for any other.

    Raises:
        InvalidManifest: what is there is none.
        StoreError: it cannot be read.
    """
    for layer in manifest.layers:
        if layer.annotations.get(ANNOTATION_MEDIA_TYPE) == mediatypes.DOCKER_MANIFEST:
            return Manifest.parse(store.blobs.read_small(layer.digest, MANIFEST_LIMIT_BYTES))
    return None


def _written(
    put: Put,
    parts: ModelParts,
    more: tuple[Part, ...],
    packed: "Mapping[Digest, Packed] | None" = None,
) -> Manifest:
    listed = [*parts.parts, *docker.config_part(parts), *more]
    layers, diff_ids = [], []
    for part, name in zip(listed, names_of(listed), strict=True):
        archive = (packed or {}).get(part.digest)
        layer = _layer(part, name) if archive is None else _packed_layer(part, name, archive)
        layers.append(layer)
        diff_ids.append(str(layer.digest if archive is None else archive.diff_id))
    data = json.dumps(_config(parts, diff_ids), separators=(",", ":")).encode()
    config = Descriptor(media_type=CONFIG_TYPE, digest=put(data), size_bytes=len(data))
    return Manifest.build(
        config, layers, media_type=mediatypes.OCI_MANIFEST, artifact_type=ARTIFACT_TYPE
    )


def _layer(part: Part, name: str) -> Descriptor:
    notes = notes_for(part)
    if part.role is Role.OTHER and part.is_layer and not notes:
        return part.layer
    return Descriptor(
        media_type=_LAYER.format(_CLASSES.get(part.role, "weight.config")),
        digest=part.digest,
        size_bytes=part.size_bytes,
        annotations=dict(
            sorted({ANNOTATION_PATH: name, mediatypes.ANNOTATION_TITLE: name, **notes}.items())
        ),
    )


def _packed_layer(part: Part, name: str, archive: "Packed") -> Descriptor:
    """The name in the archive tells the role, and the annotation what to find in it."""
    notes = {key: value for key, value in notes_for(part).items() if key != ANNOTATION_MEDIA_TYPE}
    notes |= {
        ANNOTATION_PATH: name,
        ANNOTATION_CONTENT: str(part.digest),
        mediatypes.ANNOTATION_TITLE: f"{name}.tar.zst",
    }
    return Descriptor(
        media_type=_PACKED_LAYER.format(_CLASSES[part.role]),
        digest=archive.digest,
        size_bytes=archive.size_bytes,
        annotations=dict(sorted(notes.items())),
    )


def _config(parts: ModelParts, diff_ids: list[str]) -> dict[str, Any]:
    config = parts.config
    about = {"family": config.model_family, "name": config.base_name}
    facts: dict[str, Any] = {
        "architecture": "transformer",
        "format": config.model_format or "gguf",
        "paramSize": config.model_type,
        "quantization": config.file_type,
    }
    can = set(config.capabilities)
    if can:
        facts["capabilities"] = {
            "inputTypes": ["text", *(["image"] if "vision" in can else [])],
            "outputTypes": ["embedding" if can == {"embedding"} else "text"],
            "reasoning": "thinking" in can,
            "toolUsage": "tools" in can,
        }
    return {
        "descriptor": {name: value for name, value in about.items() if value},
        "config": {name: value for name, value in facts.items() if value},
        "modelfs": {"type": "layers", "diffIds": diff_ids},
    }
