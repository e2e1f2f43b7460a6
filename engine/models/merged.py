"""Weights that a manifest holds in shards, as the one file that the runner takes.

Put together once, and kept as a blob as long as the first shard is wanted: when olm brings the
model into the store, where progress is shown, or else by its first use. Blocking file work.
"""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from olmkit.engine.errors import EngineError
from olmkit.engine.gguf import shards
from olmkit.registry import formats
from olmkit.registry.errors import Cancelled, DiskFull, RegistryError
from olmkit.registry.events import BlobProgress, EventSink
from olmkit.registry.formats import Part
from olmkit.registry.oci.digest import Digest
from olmkit.registry.shardnames import shard_names
from olmkit.registry.store import unpacked
from olmkit.registry.store.locks import locked
from olmkit.registry.store.store import Store, StoredModel
from olmkit.registry.store.unpacked import File, Record

log = logging.getLogger(__name__)
_NEVER: Final = threading.Event()


def prepare(
    store: Store, stored: StoredModel, *, on_event: EventSink, cancelled: threading.Event
) -> None:
    """Do now what the first use of a model would have to do: unpack layers, merge shards.

    Says nothing of what keeps a model from being used; whoever uses it is told.

    Raises:
        Cancelled: `cancelled` was set; the model is there all the same.
        DiskFull: likewise, but there is no room to use it.
    """
    try:
        parts = formats.read(store, stored.manifest, on_event=on_event, cancelled=cancelled)
        if len(parts.weights) > 1:
            weights_path(store, parts.weights, on_event=on_event, cancelled=cancelled)
    except (DiskFull, Cancelled):
        raise
    except (EngineError, RegistryError) as error:
        log.warning(
            "a model was stored that cannot be used",
            extra={"model": stored.reference.short, "reason": str(error)},
        )


def weights_path(
    store: Store,
    weights: Sequence[Part],
    *,
    on_event: EventSink | None = None,
    cancelled: threading.Event = _NEVER,
) -> Path:
    """The file of the weights: the only part, or what all shards make, in their order.

    Raises:
        ModelUnloadable, ModelNotCreatable: they are not the shards of one model.
        Cancelled: `cancelled` was set.
        StoreError, DiskFull: a shard cannot be read, or their file not be written.
    """
    first = weights[0]
    if len(weights) == 1:
        return store.blobs.check(first.digest, first.size_bytes)
    way = "merged " + Digest.of(" ".join(part.digest for part in weights).encode())
    record = unpacked.find(store.blobs, first.digest, below=way)
    if record is None:
        # One at a time: a listing and a question may both be a model's first use.
        with store.lease(), locked(store.lock.with_name("merge")):
            record = unpacked.find(store.blobs, first.digest, below=way)
            if record is None:
                file = _merged(store, weights, on_event, cancelled)
                record = Record(below=way, files=(file,), links={})
                unpacked.remember(store.blobs, first.digest, record)
    return store.blobs.check(Digest(record.files[0].digest), record.files[0].size)


def _merged(
    store: Store,
    weights: Sequence[Part],
    on_event: EventSink | None,
    cancelled: threading.Event,
) -> File:
    names = shard_names("model", len(weights))
    paths = {
        name: store.blobs.check(part.digest, part.size_bytes)
        for name, part in zip(names, weights, strict=True)
    }
    merge = shards.merge(paths)
    facts = {"shards": len(weights), "size_bytes": merge.size_bytes}
    log.info("merging the shards of a model, which is done once", extra=facts)
    with store.blobs.writer(size_bytes=merge.size_bytes) as writer:
        for block in merge.blocks():
            if cancelled.is_set():
                raise Cancelled("cancelled: nobody waits for the model")
            writer.write(block)
            if on_event is not None:
                on_event(
                    BlobProgress(
                        label=f"merging {len(weights)} shards",
                        completed_bytes=writer.written_bytes,
                        total_bytes=merge.size_bytes,
                    )
                )
        digest = writer.commit()
    log.info("merged the shards of a model", extra={**facts, "blob": digest.short})
    return File(name="model.gguf", digest=str(digest), size=merge.size_bytes)
