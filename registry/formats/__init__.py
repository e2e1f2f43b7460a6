"""Formats of models in registries: any manifest read into the same parts, some written from them.

    ollama      Ollama's own                       read, write
    modelpack   CNCF ModelPack 0.0.7, and `cnai`   read, write
    docker      Docker Model Runner 0.1, 0.2       read, write
    kitops      KitOps' ModelKits                  read
    image       RamaLama's container images        read
    generic     files in layers, as ORAS has them  read

Manifests stay in the store as they came; reading one again gives the same parts.
"""

import threading

from olmkit.registry.errors import InvalidManifest, SourceError, StoreError
from olmkit.registry.events import EventSink
from olmkit.registry.formats import docker, generic, image, kitops, modelpack, ollama
from olmkit.registry.formats.layers import whole_layers
from olmkit.registry.formats.parts import Format, ModelParts, Part, Role
from olmkit.registry.formats.unpacking import Bench
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.manifest import Manifest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.store.store import Store

__all__ = [
    "Format",
    "ModelParts",
    "Part",
    "Role",
    "as_oci",
    "format_of",
    "from_oci",
    "read",
    "read_known",
    "require_model",
    "write",
    "write_packed",
]

_READERS = {
    Format.OLLAMA: ollama.read,
    Format.MODELPACK: modelpack.read,
    Format.DOCKER: docker.read,
    Format.KITOPS: kitops.read,
    Format.IMAGE: image.read,
    Format.GENERIC: generic.read,
}
_OF_MODELS = frozenset({Role.WEIGHTS, Role.PROJECTOR, Role.ADAPTER, Role.DRAFT})
_WRITERS = {
    Format.OLLAMA: ollama.write,
    Format.MODELPACK: modelpack.write,
    Format.DOCKER: docker.write,
}


def format_of(manifest: Manifest) -> Format:
    """The format of a manifest, told by media types alone."""
    if ollama.matches(manifest):
        return Format.OLLAMA
    if kitops.matches(manifest):
        return Format.KITOPS
    if modelpack.matches(manifest):
        return Format.MODELPACK
    if docker.matches(manifest):
        return Format.DOCKER
    if image.matches(manifest):
        return Format.IMAGE
    return Format.GENERIC


def read(
    store: Store,
    manifest: Manifest,
    *,
    on_event: EventSink | None = None,
    cancelled: threading.Event | None = None,
) -> ModelParts:
    """The parts of a model whose blobs are in the store. Packed layers are unpacked once.

    That takes time the first time: whoever brings a model into the store reads it once, with
    `on_event`. The parts may hold no weights, which is for the caller to refuse.

    Raises:
        SourceError: a packed layer is no archive, or not acceptable.
        InvalidManifest: the config cannot be read.
        Cancelled: `cancelled` was set.
        StoreError, DiskFull: a blob cannot be read, or a file not be unpacked.
    """
    bench = Bench(store=store, on_event=on_event, cancelled=cancelled)
    return _READERS[format_of(manifest)](bench, manifest)


def require_model(parts: ModelParts, manifest: Manifest, name: str) -> None:
    """Nothing, if these are the parts of a model, or of a piece of one such as an adapter.

    Raises:
        SourceError: it is an image or artifact of another kind.
    """
    is_known = any(part.role in _OF_MODELS for part in parts.parts)
    is_remote = bool(parts.config.remote_model or parts.config.remote_host)
    if is_known or is_remote or any(ollama.is_own(layer) for layer in manifest.layers):
        return
    types = ", ".join(sorted({layer.media_type for layer in manifest.layers})) or "nothing"
    raise SourceError(
        f"{name} holds no model: its layers are {types[:300]}",
        hint="it is an image or artifact of another kind",
    )


def read_known(store: Store, manifest: Manifest) -> tuple[ModelParts, str | None]:
    """`read`, but of a damaged model the parts that its manifest alone tells, and what is wrong."""
    try:
        return read(store, manifest), None
    except (StoreError, InvalidManifest, SourceError) as error:
        parts = ModelParts(
            format=format_of(manifest), config=ModelConfig(), parts=whole_layers(manifest.layers)
        )
        return parts, "; ".join(filter(None, (str(error), error.hint)))


def write(store: Store, parts: ModelParts, format_: Format) -> Manifest:
    """A manifest of another format for the same files; small blobs for it go into the store.

    Hold `store.lease()` until the manifest is stored or sent. Nothing large is copied, and equal
    parts give equal bytes. From Ollama's format to another and back gives the same manifest.

    Raises:
        SourceError: no weights, or a format that olm only reads.
        StoreError, DiskFull: a blob cannot be written.
    """
    writer = _WRITERS.get(format_)
    if writer is None:
        raise SourceError(f"olm reads models in {format_}'s format, but writes none")
    return writer(store, parts)


def write_packed(
    store: Store,
    parts: ModelParts,
    *,
    on_event: EventSink | None = None,
    cancelled: threading.Event | None = None,
) -> Manifest:
    """`write` in ModelPack's form, with those weights compressed that really shrink.

    Raises:
        SourceError: no weights.
        Cancelled: `cancelled` was set.
        StoreError, DiskFull: a blob cannot be read or written.
    """
    from olmkit.registry.formats.packing import pack

    bench = Bench(store=store, on_event=on_event, cancelled=cancelled)
    return modelpack.write(store, parts, pack(bench, parts))


def as_oci(store: Store, manifest: Manifest, put: modelpack.Put) -> Manifest:
    """The same model as a manifest that every OCI tool takes: Docker's are wrapped as ModelPack.

    `put` keeps a small new blob and returns its digest.

    Raises:
        InvalidManifest, SourceError, StoreError: as `read`.
    """
    if manifest.media_type != mediatypes.DOCKER_MANIFEST:
        return manifest
    return modelpack.wrap(manifest, read(store, manifest), put)


def from_oci(store: Store, manifest: Manifest) -> Manifest:
    """The manifest that `as_oci` wrapped, byte for byte; any other one unchanged.

    Raises:
        InvalidManifest: the wrapped one cannot be read.
        StoreError: it is absent.
    """
    return modelpack.unwrap(store, manifest) or manifest
