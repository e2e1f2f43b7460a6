"""Stores with models of a few bytes."""

from pathlib import Path

from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store

GGUF = b"GGUF" + bytes(range(256)) * 16
"""Looks like weights to the registry, which reads no more than the magic."""


def descriptor(store: Store, media_type: str, digest: Digest) -> Descriptor:
    size_bytes = store.blobs.path(digest).stat().st_size
    return Descriptor(media_type=media_type, digest=digest, size_bytes=size_bytes)


def manifest(store: Store, weights: bytes = GGUF, *, template: bytes | None = None) -> Manifest:
    """A manifest whose blobs are in the store."""
    config = store.blobs.put_bytes(ModelConfig(model_format="gguf").to_json())
    layers = [descriptor(store, mediatypes.OLLAMA_MODEL, store.blobs.put_bytes(weights))]
    if template is not None:
        digest = store.blobs.put_bytes(template)
        layers.append(descriptor(store, mediatypes.OLLAMA_TEMPLATE, digest))
    return Manifest.build(descriptor(store, mediatypes.DOCKER_CONFIG, config), layers)


def put_model(store: Store, name: str, weights: bytes = GGUF) -> Manifest:
    """A model in the store."""
    made = manifest(store, weights)
    store.put(Reference.parse(name), made)
    return made


def remove_models(root: Path) -> None:
    """Leave no model and no blob in the store there, for the next test on the same daemon."""
    store = Store(root)
    for model in store.list():
        store.remove(model.reference)
    if store.blobs.folder.exists():
        for blob in store.blobs.folder.iterdir():
            blob.unlink()


def files_of(store: Store) -> set[str]:
    """All files of a store but its locks, relative to its root."""
    return {
        str(path.relative_to(store.root))
        for path in store.root.rglob("*")
        if path.is_file() and path.parent.name != "locks"
    }


def write_raw_manifest(root: Path, path: str, raw: bytes) -> None:
    """Put bytes where a manifest belongs, as another program would."""
    target = root / "manifests" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(raw)


def layers_of(manifest: Manifest, media_type: str) -> tuple[Descriptor, ...]:
    """The layers of that media type, in the manifest's order."""
    return tuple(layer for layer in manifest.layers if layer.media_type == media_type)
