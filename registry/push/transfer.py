"""Pull and push of whole models between the store and one repository.

Decides the order: blobs before the manifest that names them, in both directions, so that a name
never means something that is not there. How bytes move is `download`'s and `upload`'s business.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from olmkit.registry import formats
from olmkit.registry.download import download
from olmkit.registry.download.blobdownload import RemoteBlob
from olmkit.registry.errors import SourceError
from olmkit.registry.events import EventSink, Status
from olmkit.registry.formats import Format
from olmkit.registry.http.remote import RemoteRepository
from olmkit.registry.http.transferlimits import TransferLimits
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Index, Manifest
from olmkit.registry.oci.reference import DEFAULT_HOST, OLLAMA_HOSTS, Reference
from olmkit.registry.push import pushes, upload
from olmkit.registry.store.store import Store, StoredModel


def pull_blobs(
    repository: RemoteRepository,
    descriptors: Sequence[Descriptor],
    store: Store,
    *,
    on_event: EventSink,
    cancelled: threading.Event,
    limits: TransferLimits,
) -> None:
    """Bring the blobs that the store lacks. Hold `store.lease()` until the manifest is stored.

    Raises:
        Cancelled: `cancelled` was set.
        RemoteError: refused, unreachable, or other bytes than promised.
        DiskFull, StoreError: the store cannot take them.
    """
    download.fetch(
        [_remote_blob(repository, descriptor) for descriptor in descriptors],
        store.blobs,
        on_event=on_event,
        cancelled=cancelled,
        limits=limits,
    )


def _remote_blob(repository: RemoteRepository, descriptor: Descriptor) -> RemoteBlob:
    digest = descriptor.digest
    return RemoteBlob(
        label=f"pulling {digest.short}",
        name=digest.file_name,
        size_bytes=descriptor.size_bytes,
        digest=digest,
        open=partial(repository.open_blob, digest),
        host=repository.host,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOptions:
    """How to push."""

    insecure: bool = False
    """Whether the host may be reached over plain http, and with any certificate."""
    format: str | None = None
    """Format of the manifest in the registry, a `formats.Format`; None for the one that the host's
    users expect."""
    compress: bool = False
    """Whether weights that shrink are sent compressed, which only ModelPack allows."""


def push_model(
    model: StoredModel,
    store: Store,
    access: RemoteAccess,
    *,
    on_event: EventSink,
    cancelled: threading.Event,
    options: PushOptions,
) -> Digest:
    """Make a stored model's name mean it on its registry; returns the digest of the manifest there.

    A model in Ollama's format goes as ModelPack to registries that are not Ollama's; any other
    goes byte for byte. What the registry has already, under this name or another of the store's,
    is not sent.

    Raises:
        SourceError: the model cannot be written in that format.
        Cancelled: `cancelled` was set.
        RemoteError: refused or unreachable.
        StoreError: a blob is missing or was changed.
    """
    with store.lease():
        manifest = written(model, store, options, on_event, cancelled)
        send_manifests(
            model.reference,
            [manifest],
            store,
            access,
            on_event=on_event,
            cancelled=cancelled,
            insecure=options.insecure,
        )
        pushes.record(store, model.reference, model.manifest_digest, manifest.digest)
    if options.compress:
        store.discard_unused(manifest)
    return manifest.digest


def written(
    model: StoredModel,
    store: Store,
    options: PushOptions,
    on_event: EventSink,
    cancelled: threading.Event,
) -> Manifest:
    """The manifest to push for a model, in the format that the options or its host ask for.

    Raises:
        SourceError: the model cannot be written in that format.
    """
    is_fixed = model.reference.digest is not None
    own = formats.format_of(model.manifest)
    wanted = Format(options.format) if options.format else None
    if wanted is None and own is Format.OLLAMA and not is_fixed:
        wanted = Format.OLLAMA if model.reference.host in OLLAMA_HOSTS else Format.MODELPACK
    if options.compress:
        if wanted not in (None, Format.MODELPACK):
            raise SourceError(f"{wanted}'s form has no compressed layers")
        wanted = Format.MODELPACK
    elif wanted in (None, own):
        return model.manifest
    if is_fixed:
        raise SourceError(f"{model.reference.short} fixes a digest, which {wanted}'s form changes")
    parts = formats.read(store, model.manifest, on_event=on_event, cancelled=cancelled)
    if options.compress:
        return formats.write_packed(store, parts, on_event=on_event, cancelled=cancelled)
    return formats.write(store, parts, wanted)


def send_manifests(
    reference: Reference,
    manifests: Sequence[Manifest],
    store: Store,
    access: RemoteAccess,
    *,
    index: Index | None = None,
    on_event: EventSink,
    cancelled: threading.Event,
    insecure: bool,
) -> None:
    """Send manifests with their blobs; the last one, or the index of all, gets the name.

    Hold `store.lease()` meanwhile.

    Raises:
        Cancelled: `cancelled` was set.
        RemoteError: refused or unreachable.
        StoreError: a blob is missing or was changed.
    """
    mounts = _mounts(reference, manifests, store)
    repository = RemoteRepository(
        reference,
        access,
        actions="pull,push",
        insecure=insecure,
        sources=sorted(set(mounts.values())),
    )
    with repository:
        upload.send(
            repository,
            [blob for one in manifests for blob in (*one.layers, one.config)],
            store.blobs,
            mounts=mounts,
            on_event=on_event,
            cancelled=cancelled,
            limits=access.limits,
        )
        on_event(Status(text="pushing manifest"))
        if index is not None:
            for one in manifests:
                repository.put_manifest(str(one.digest), one.raw, one.media_type)
        named = manifests[-1] if index is None else index
        repository.put_manifest(target_of(reference), named.raw, named.media_type)


def target_of(reference: Reference) -> str:
    """The name of a manifest within its repository: the digest where it is fixed, else the tag."""
    return str(reference.digest) if reference.digest is not None else reference.tag


def _mounts(reference: Reference, manifests: Sequence[Manifest], store: Store) -> dict[Digest, str]:
    """Other repositories of the same registry that hold blobs of manifests, as the store knows."""
    if reference.host == DEFAULT_HOST:
        return {}
    wanted = {blob.digest for manifest in manifests for blob in manifest.blobs}
    mounts: dict[Digest, str] = {}
    for model in store.list():
        other = model.reference
        if other.host == reference.host and other.repository != reference.repository:
            for blob in model.manifest.blobs:
                if blob.digest in wanted:
                    mounts.setdefault(blob.digest, other.repository)
    return mounts
