"""Pull and push of whole models between the store and one repository.

Decides the order: blobs before the manifest that names them, in both directions, so that a name
never means something that is not there. How bytes move is `download`'s and `upload`'s business.
"""

import threading
from collections.abc import Sequence
from functools import partial

from olmkit.registry import download, upload
from olmkit.registry.digest import Digest
from olmkit.registry.events import EventSink, Status
from olmkit.registry.manifest import Descriptor, Manifest
from olmkit.registry.reference import DEFAULT_HOST, Reference
from olmkit.registry.remote import RemoteRepository
from olmkit.registry.store import Store
from olmkit.registry.web import Connection


def pull_blobs(
    repository: RemoteRepository,
    descriptors: Sequence[Descriptor],
    store: Store,
    *,
    on_event: EventSink,
    cancelled: threading.Event,
    streams: int | None = None,
) -> None:
    """Bring the blobs that the store lacks. Hold `store.lease()` until the manifest is stored.

    Raises:
        TransferCancelled: `cancelled` was set.
        RemoteError: refused, unreachable, or other bytes than promised.
        DiskFull, StoreError: the store cannot take them.
    """
    download.fetch(
        [_wanted(repository, descriptor) for descriptor in descriptors],
        store.blobs,
        on_event=on_event,
        cancelled=cancelled,
        streams=streams,
    )


def _wanted(repository: RemoteRepository, descriptor: Descriptor) -> download.Wanted:
    digest = descriptor.digest
    return download.Wanted(
        label=f"pulling {digest.short}",
        name=digest.file_name,
        size_bytes=descriptor.size_bytes,
        digest=digest,
        open=partial(repository.open_blob, digest),
        host=repository.host,
    )


def push(
    reference: Reference,
    manifest: Manifest,
    store: Store,
    connection: Connection,
    *,
    on_event: EventSink,
    cancelled: threading.Event,
    insecure: bool = False,
) -> Digest:
    """Make a name mean a manifest on its registry, byte for byte; returns the manifest's digest.

    What the registry has already, under this name or another of the store's, is not sent.

    Raises:
        TransferCancelled: `cancelled` was set.
        RemoteError: refused or unreachable.
        StoreError: a blob is missing or was changed.
    """
    mounts = _mounts(reference, manifest, store)
    repository = RemoteRepository(
        reference,
        connection,
        actions="pull,push",
        insecure=insecure,
        sources=sorted(set(mounts.values())),
    )
    with store.lease(), repository:
        upload.send(
            repository,
            [*manifest.layers, manifest.config],
            store.blobs,
            mounts=mounts,
            on_event=on_event,
            cancelled=cancelled,
            streams=connection.streams,
        )
        on_event(Status(text="pushing manifest"))
        repository.put_manifest(target_of(reference), manifest.raw, manifest.media_type)
    return manifest.digest


def target_of(reference: Reference) -> str:
    """How a registry calls what a reference means: by its digest if fixed, else its tag."""
    return str(reference.digest) if reference.digest is not None else reference.tag


def _mounts(reference: Reference, manifest: Manifest, store: Store) -> dict[Digest, str]:
    """Other repositories of the same registry that hold blobs of a manifest, as the store knows."""
    if reference.host == DEFAULT_HOST:
        return {}
    wanted = {blob.digest for blob in manifest.blobs}
    mounts: dict[Digest, str] = {}
    for model in store.list():
        other = model.reference
        if other.host == reference.host and other.repository != reference.repository:
            for blob in model.manifest.blobs:
                if blob.digest in wanted:
                    mounts.setdefault(blob.digest, other.repository)
    return mounts
