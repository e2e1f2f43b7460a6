"""Docker Model Runner's format, 0.1 and 0.2.

Source: https://github.com/docker/model-spec/blob/main/config.md
"""

import json
from typing import Any, Final

from olmkit.registry.errors import SourceError
from olmkit.registry.formats.layers import assemble, is_tar, member, read_config, text
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
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.store.store import Store

PREFIX: Final = "application/vnd.docker.ai."
CONFIG_TYPE: Final = PREFIX + "model.config.v0.1+json"
CONFIG_PREFIX: Final = PREFIX + "model.config."
GGUF_TYPE: Final = PREFIX + "gguf.v3"
MMPROJ_TYPE: Final = PREFIX + "mmproj"
TEMPLATE_TYPE: Final = PREFIX + "chat.template.jinja"
FILE_TYPE: Final = PREFIX + "model.file"
LICENSE_TYPE: Final = PREFIX + "license"
ROLES: Final = {
    GGUF_TYPE: Role.WEIGHTS,
    "application/vnd.cncf.model.weight.v1.gguf": Role.WEIGHTS,
    MMPROJ_TYPE: Role.PROJECTOR,
    TEMPLATE_TYPE: Role.CHAT_TEMPLATE,
    LICENSE_TYPE: Role.LICENSE,
}
"""Roles by media type; a layer of 0.2's `model.file` tells its role by its name."""
_WRITTEN: Final = {
    Role.WEIGHTS: GGUF_TYPE,
    Role.PROJECTOR: MMPROJ_TYPE,
    Role.CHAT_TEMPLATE: TEMPLATE_TYPE,
    Role.LICENSE: LICENSE_TYPE,
}


def matches(manifest: Manifest) -> bool:
    """Whether the manifest is in this format."""
    return manifest.config.media_type.startswith(CONFIG_PREFIX) or any(
        layer.media_type.startswith(PREFIX) for layer in manifest.layers
    )


def read(bench: Bench, manifest: Manifest) -> ModelParts:
    """The model; its packed layers are unpacked first.

    Raises:
        SourceError: a packed layer is not acceptable.
        StoreError: a blob cannot be read.
    """
    config = member(read_config(bench.store, manifest.config), "config")
    return assemble(
        bench,
        manifest,
        Format.DOCKER,
        ModelConfig(
            model_format=text(config, "format"),
            model_family=text(config, "architecture"),
            model_type=text(config, "parameters"),
            file_type=text(config, "quantization"),
        ),
        roles=ROLES,
        is_packed=is_tar,
    )


def write(store: Store, parts: ModelParts) -> Manifest:
    """A manifest of version 0.1; small blobs that it needs are put into the store.

    A layer that the format has no type for keeps Ollama's type, which Docker ignores.

    Raises:
        SourceError: there are no weights.
        StoreError, DiskFull: a blob cannot be written.
    """
    if not parts.weights:
        raise SourceError("the model holds no GGUF weights")
    listed = [*parts.parts, *config_part(parts)]
    layers = [_layer(part, name) for part, name in zip(listed, names_of(listed), strict=True)]
    data = json.dumps(_config(parts, layers), separators=(",", ":")).encode()
    config = Descriptor(
        media_type=CONFIG_TYPE, digest=store.blobs.put_bytes(data), size_bytes=len(data)
    )
    return Manifest.build(config, layers, media_type=mediatypes.OCI_MANIFEST)


def config_part(parts: ModelParts) -> tuple[Part, ...]:
    """Ollama's config blob as a part, for formats that have no place for what it says."""
    layer = parts.config_layer
    if layer is None:
        return ()
    return (Part(role=Role.CONFIG, digest=layer.digest, size_bytes=layer.size_bytes, layer=layer),)


def _layer(part: Part, name: str) -> Descriptor:
    notes = notes_for(part)
    if part.role is Role.OTHER and part.is_layer and not notes:
        return part.layer
    return Descriptor(
        media_type=_WRITTEN.get(part.role) or notes.get(ANNOTATION_MEDIA_TYPE, FILE_TYPE),
        digest=part.digest,
        size_bytes=part.size_bytes,
        annotations=dict(sorted({mediatypes.ANNOTATION_TITLE: name, **notes}.items())),
    )


def _config(parts: ModelParts, layers: list[Descriptor]) -> dict[str, Any]:
    config = parts.config
    facts = {
        "format": config.model_format or "gguf",
        "quantization": config.file_type,
        "parameters": config.model_type,
        "architecture": config.model_family,
        "size": f"{sum(part.size_bytes for part in parts.weights) / 2**20:.2f} MiB",
    }
    return {
        "config": {name: value for name, value in facts.items() if value},
        "descriptor": {},
        "rootfs": {"type": "rootfs", "diff_ids": [str(layer.digest) for layer in layers]},
    }
