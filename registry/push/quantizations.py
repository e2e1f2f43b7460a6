"""One name for several quantizations of a model: an image index that says which is which.

Decides what such an index holds; `sources.oci` takes one of them, `transfer` moves the blobs.

Source: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md
"""

import threading
from collections.abc import Sequence
from typing import Final

from olmkit.registry import formats
from olmkit.registry.errors import ModelNotFound, SourceError
from olmkit.registry.events import EventSink, Status
from olmkit.registry.formats.parts import Role
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Index, Manifest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.push import transfer
from olmkit.registry.push.transfer import PushOptions
from olmkit.registry.store.store import Store, StoredModel

QUANTIZATION: Final = "dev.olmkit.quantization"
"""Annotation of a manifest's descriptor in an index: `Q4_K_M`."""
WEIGHT_BYTES: Final = "dev.olmkit.size"
"""Annotation beside it: the bytes of all its files, unpacked."""


def push_quantizations(
    reference: Reference,
    store: Store,
    access: RemoteAccess,
    *,
    on_event: EventSink,
    cancelled: threading.Event,
    options: PushOptions,
) -> Digest:
    """Make a name mean all quantizations that the store has under tags of its repository.

    Returns the digest of the index. The manifests go to the registry without tags of their own.

    Raises:
        ModelNotFound: the store has no model in the repository.
        SourceError: a model does not say its quantization, or two models have the same one.
        Cancelled, RemoteError, StoreError: as `transfer.push_model`.
    """
    with store.lease():
        found: dict[str, tuple[StoredModel, Manifest, Descriptor]] = {}
        for model in _siblings(reference, store):
            manifest = transfer.written(model, store, options, on_event, cancelled)
            entry = _described(model, manifest, store, on_event, cancelled)
            name = entry.annotations[QUANTIZATION]
            known = found.setdefault(name.lower(), (model, manifest, entry))
            if _weights(store, known[1]) != _weights(store, manifest):
                raise SourceError(
                    f"{known[0].reference.short} and {model.reference.short} are both {name}",
                    hint="give one of them a name in another repository with `olm cp`",
                )
        entries = sorted((entry for *_, entry in found.values()), key=_size_bytes)
        names = ", ".join(entry.annotations[QUANTIZATION] for entry in entries)
        on_event(Status(text=f"pushing {len(entries)} quantizations: {names}"))
        index = Index.build(entries)
        transfer.send_manifests(
            reference,
            [manifest for _, manifest, _ in found.values()],
            store,
            access,
            index=index,
            on_event=on_event,
            cancelled=cancelled,
            insecure=options.insecure,
        )
    if options.compress:
        for _, manifest, _ in found.values():
            store.discard_unused(manifest)
    return Digest.of(index.raw)


def _siblings(reference: Reference, store: Store) -> Sequence[StoredModel]:
    wanted = (reference.host.lower(), reference.repository.lower())
    models = [
        model
        for model in store.list()
        if (model.reference.host.lower(), model.reference.repository.lower()) == wanted
        and model.reference.digest is None
    ]
    if not models:
        place = f"{reference.host}/{reference.repository}"
        raise ModelNotFound(f"no model here has a name in {place}", name=reference.short)
    return sorted(models, key=lambda model: model.reference.tag)


def _described(
    model: StoredModel,
    manifest: Manifest,
    store: Store,
    on_event: EventSink,
    cancelled: threading.Event,
) -> Descriptor:
    """The index's entry for a manifest."""
    parts = formats.read(store, manifest, on_event=on_event, cancelled=cancelled)
    quantization = parts.config.file_type
    if not quantization or quantization == "unknown":
        raise SourceError(f"{model.reference.short} does not say its quantization")
    size_bytes = sum({part.digest: part.size_bytes for part in parts.parts}.values())
    return Descriptor(
        media_type=manifest.media_type,
        digest=manifest.digest,
        size_bytes=len(manifest.raw),
        artifact_type=manifest.artifact_type,
        annotations={QUANTIZATION: quantization, WEIGHT_BYTES: str(size_bytes)},
    )


def _weights(store: Store, manifest: Manifest) -> list[Digest]:
    return [part.digest for part in formats.read(store, manifest).of(Role.WEIGHTS)]


def _size_bytes(entry: Descriptor) -> int:
    return int(entry.annotations[WEIGHT_BYTES])
