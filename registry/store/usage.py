"""The disk usage of a store, and how much of it housekeeping may free.

Decides what counts as used, unused and unfinished; removes nothing.
"""

from dataclasses import dataclass

from olmkit.registry.oci.digest import Digest
from olmkit.registry.store import journal, unpacked
from olmkit.registry.store.collect import Collection
from olmkit.registry.store.journal import Unfinished
from olmkit.registry.store.store import Store, StoredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsage:
    """The disk usage of one name."""

    model: StoredModel
    size_bytes: int
    """Bytes of its blobs, each once, and of the files that were unpacked from them."""
    unique_bytes: int
    """Bytes that no other model needs, which its removal frees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The disk usage of a store."""

    models: tuple[ModelUsage, ...]
    models_bytes: int
    """Bytes of all blobs that models need, each once."""
    unused: Collection
    partials: tuple[Unfinished, ...]
    """Unfinished downloads and uploads, and files that were being written."""


def usage(store: Store) -> Usage:
    """The disk usage of a store. Reads manifests, no blobs.

    Raises:
        StoreError: the store cannot be read.
    """
    models = store.list()
    needed = {model.reference: _blobs_of(store, model) for model in models}
    users: dict[Digest, set[Digest]] = {}
    for model in models:
        for digest in needed[model.reference]:
            users.setdefault(digest, set()).add(model.manifest_digest)
    sizes = {digest: size for blobs in needed.values() for digest, size in blobs.items()}
    listed = tuple(
        ModelUsage(
            model=model,
            size_bytes=sum(needed[model.reference].values()),
            unique_bytes=sum(
                size for digest, size in needed[model.reference].items() if len(users[digest]) == 1
            ),
        )
        for model in models
    )
    return Usage(
        models=listed,
        models_bytes=sum(sizes.values()),
        unused=store.collect(is_dry_run=True),
        partials=unfinished(store),
    )


def unfinished(store: Store) -> tuple[Unfinished, ...]:
    """Unfinished downloads and uploads, and files that were being written.

    Raises:
        StoreError: the store cannot be read.
    """
    staging = sorted({*store.blobs.stagings, store.names.staging})
    return (
        *(entry for folder in store.blobs.partials for entry in journal.unfinished(folder)),
        *(entry for folder in staging for entry in journal.staged(folder)),
    )


def _blobs_of(store: Store, model: StoredModel) -> dict[Digest, int]:
    sizes = {blob.digest: blob.size_bytes for blob in model.manifest.blobs}
    for digest in unpacked.wanted_with(store.blobs.unpacked, sizes.keys()):
        try:
            sizes.setdefault(digest, store.blobs.path(digest).stat().st_size)
        except OSError:
            continue
    return sizes
