"""From a manifest's layers to parts: what all formats but Ollama's have in common."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from olmkit.registry.errors import store_errors
from olmkit.registry.formats.parts import (
    OLLAMA_ROLES,
    Format,
    ModelParts,
    Part,
    Role,
    file_name,
    ollama_media_type,
    one_model,
    role_of_name,
)
from olmkit.registry.formats.unpacking import GGUF_MAGIC, Bench, unpack
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.modelconfig import CONFIG_LIMIT_BYTES, ModelConfig
from olmkit.registry.store.store import Store

TAR_SUFFIXES: Final = (".tar", ".tar+gzip", ".tar+zstd", ".tar.gzip", ".tar.zstd")
Object = Mapping[str, Any]


def is_tar(layer: Descriptor) -> bool:
    """Whether the media type says that the layer is a tar archive."""
    return layer.media_type.endswith(TAR_SUFFIXES)


def assemble(
    bench: Bench,
    manifest: Manifest,
    format_: Format,
    config: ModelConfig,
    *,
    roles: Mapping[str, Role] | None = None,
    is_packed: Callable[[Descriptor], bool] = is_tar,
    below: str = "",
) -> ModelParts:
    """The model, its packed layers unpacked; `roles` are those of the format's media types.

    Layers that olm wrote say by an annotation what they are in Ollama's format, which counts
    first. Without any weights, the first raw layer that begins as GGUF files do is the model.

    Raises:
        SourceError: a packed layer is not acceptable.
        StoreError: a layer cannot be read.
    """
    parts: list[Part] = []
    for layer in manifest.layers:
        role = OLLAMA_ROLES.get(ollama_media_type(layer)) or (roles or {}).get(layer.media_type)
        if role is None and is_packed(layer) and not begins_as_gguf(bench.store, layer.digest):
            parts += _packed(bench, layer, below)
        else:
            name = file_name(layer)
            parts.append(_whole(layer, role or role_of_name(name), name))
    if not any(part.role is Role.WEIGHTS for part in parts):
        parts = _sniffed(bench.store, parts)
    return _with_own_config(
        bench.store, ModelParts(format=format_, config=config, parts=one_model(parts))
    )


def _whole(layer: Descriptor, role: Role, name: str = "") -> Part:
    return Part(role=role, digest=layer.digest, size_bytes=layer.size_bytes, layer=layer, name=name)


def whole_layers(layers: Iterable[Descriptor]) -> tuple[Part, ...]:
    """Each layer as the part that its media type in Ollama's format says."""
    return tuple(
        _whole(layer, OLLAMA_ROLES.get(layer.media_type, Role.OTHER), file_name(layer))
        for layer in layers
    )


def _packed(bench: Bench, layer: Descriptor, below: str) -> list[Part]:
    record = unpack(bench, layer, below=below)
    parts = []
    for file in record.files:
        role = role_of_name(file.name)
        if role is Role.OTHER and not file.name.lower().endswith(".gguf"):
            role = Role.WEIGHTS  # it begins as GGUF files do, or it would not be there
        parts.append(
            Part(
                role=role,
                digest=Digest(file.digest),
                size_bytes=file.size,
                layer=layer,
                name=file.name,
            )
        )
    return parts or [_whole(layer, Role.OTHER, file_name(layer))]


def _sniffed(store: Store, parts: list[Part]) -> list[Part]:
    for index, part in enumerate(parts):
        if part.role is Role.OTHER and part.is_layer and begins_as_gguf(store, part.digest):
            return [*parts[:index], replace(part, role=Role.WEIGHTS), *parts[index + 1 :]]
    return parts


def begins_as_gguf(store: Store, digest: Digest) -> bool:
    """Whether the first bytes of a blob are those of a GGUF file.

    Raises:
        StoreError: the blob cannot be read.
    """
    path = store.blobs.path(digest)
    with store_errors(path, "read"), open(path, "rb") as file:
        return file.read(len(GGUF_MAGIC)) == GGUF_MAGIC


def _with_own_config(store: Store, parts: ModelParts) -> ModelParts:
    """The parts with Ollama's config blob, where olm put one among the layers."""
    own = parts.of(Role.CONFIG)
    if not own:
        return parts
    layer = own[0].layer
    raw = store.blobs.read_small(layer.digest, CONFIG_LIMIT_BYTES)
    return ModelParts(
        format=parts.format,
        config=ModelConfig.parse(raw),
        parts=tuple(p for p in parts.parts if p.role not in (Role.CONFIG, Role.MANIFEST)),
        config_layer=Descriptor(
            media_type=mediatypes.DOCKER_CONFIG, digest=layer.digest, size_bytes=layer.size_bytes
        ),
    )


def read_config(store: Store, config: Descriptor) -> Object:
    """The JSON object of a config blob; empty when it is something else.

    Raises:
        StoreError: the blob cannot be read, or is longer than `CONFIG_LIMIT_BYTES`.
    """
    try:
        value = json.loads(store.blobs.read_small(config.digest, CONFIG_LIMIT_BYTES))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def member(value: Object, name: str) -> Object:
    """The object under a name; empty when there is none."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def text(value: Object, name: str) -> str | None:
    """The text under a name; `None` when there is none."""
    found = value.get(name)
    return found if isinstance(found, str) and found else None
