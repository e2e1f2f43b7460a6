"""Ollama's format: Docker manifests whose layers have media types of Ollama's.

Source: `GetModel` of https://github.com/ollama/ollama/blob/v0.17.4/server/images.go
"""

from dataclasses import replace

from olmkit.registry.errors import SourceError
from olmkit.registry.formats.layers import whole_layers
from olmkit.registry.formats.parts import (
    ANNOTATION_FROM,
    ANNOTATION_MEDIA_TYPE,
    ANNOTATION_NAME,
    OLLAMA_PREFIX,
    OLLAMA_TYPES,
    Format,
    ModelParts,
    Part,
)
from olmkit.registry.formats.unpacking import Bench
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.modelconfig import CONFIG_LIMIT_BYTES, ModelConfig
from olmkit.registry.store.store import Store


def matches(manifest: Manifest) -> bool:
    """Whether the manifest is in this format: any layer of it, or a config and no layer."""
    if not manifest.layers:
        return manifest.config.media_type == mediatypes.DOCKER_CONFIG
    is_foreign = any(ANNOTATION_MEDIA_TYPE in layer.annotations for layer in manifest.layers)
    has_own = any(map(is_own, manifest.layers))
    return has_own and not is_foreign


def is_own(layer: Descriptor) -> bool:
    """Whether a layer has a media type of Ollama's."""
    return layer.media_type.startswith(OLLAMA_PREFIX)


def read(bench: Bench, manifest: Manifest) -> ModelParts:
    """The model.

    Raises:
        InvalidManifest: its config cannot be read.
        StoreError: the config is not in the store.
    """
    raw = bench.store.blobs.read_small(manifest.config.digest, CONFIG_LIMIT_BYTES)
    return ModelParts(
        format=Format.OLLAMA,
        config=ModelConfig.parse(raw),
        parts=whole_layers(manifest.layers),
        config_layer=manifest.config,
    )


def write(store: Store, parts: ModelParts) -> Manifest:
    """A manifest of this format; small blobs that it needs are put into the store.

    A model that came from this format gives the same manifest again, whatever it was in between.

    Raises:
        SourceError: there are no weights.
        StoreError, DiskFull: a blob cannot be written.
    """
    if not parts.weights:
        raise SourceError("the model holds no GGUF weights")
    config = parts.config_layer
    if config is None:
        model_config = replace(parts.config, model_format=parts.config.model_format or "gguf")
        data = model_config.to_json()
        digest = store.blobs.put_bytes(data)
        config = Descriptor(
            media_type=mediatypes.DOCKER_CONFIG, digest=digest, size_bytes=len(data)
        )
    layers = [_layer(part) for part in parts.parts]
    return Manifest.build(config, layers)


def _layer(part: Part) -> Descriptor:
    """A part as a layer. Kinds that Ollama does not know stay as they are: it ignores them."""
    layer, notes = part.layer, part.layer.annotations
    media_type = notes.get(ANNOTATION_MEDIA_TYPE, "") if part.is_layer else ""
    if not media_type and part.is_layer and layer.media_type.startswith(OLLAMA_PREFIX):
        return layer
    media_type = media_type or OLLAMA_TYPES.get(part.role, "")
    if media_type:
        return Descriptor(
            media_type=media_type,
            digest=part.digest,
            size_bytes=part.size_bytes,
            from_=notes.get(ANNOTATION_FROM),
            name=notes.get(ANNOTATION_NAME),
        )
    if part.is_layer:
        return layer
    return Descriptor(
        media_type="application/octet-stream",
        digest=part.digest,
        size_bytes=part.size_bytes,
        annotations={mediatypes.ANNOTATION_TITLE: part.name},
    )
