"""Weights that a manifest holds in shards, as the one file that the runner takes.

Put together once, and kept as a blob as long as the first shard is wanted. Blocking file work.
"""

from collections.abc import Sequence
from pathlib import Path

from olmkit.engine.models import shards
from olmkit.registry import unpacked
from olmkit.registry.digest import Digest
from olmkit.registry.formats import Part
from olmkit.registry.store import Store
from olmkit.registry.unpacked import File, Record


def weights_path(store: Store, weights: Sequence[Part]) -> Path:
    """The file of the weights: the only part, or what all shards make, in their order.

    Raises:
        ModelUnloadable, ModelNotCreatable: they are not the shards of one model.
        StoreError, DiskFull: a shard cannot be read, or their file not be written.
    """
    first = weights[0]
    if len(weights) == 1:
        return store.blobs.check(first.digest, first.size_bytes)
    way = "merged " + Digest.of(" ".join(part.digest for part in weights).encode())
    record = unpacked.find(store.blobs, first.digest, below=way)
    if record is None:
        with store.lease():
            record = Record(below=way, files=(_merged(store, weights),), links={})
            unpacked.remember(store.blobs, first.digest, record)
    return store.blobs.check(Digest(record.files[0].digest), record.files[0].size)


def _merged(store: Store, weights: Sequence[Part]) -> File:
    paths = {
        f"model-{number:05d}-of-{len(weights):05d}.gguf": store.blobs.check(
            part.digest, part.size_bytes
        )
        for number, part in enumerate(weights, 1)
    }
    merge = shards.merge(paths)
    with store.blobs.writer(size_bytes=merge.size_bytes) as writer:
        for block in merge.blocks():
            writer.write(block)
        digest = writer.commit()
    return File(name="model.gguf", digest=str(digest), size=merge.size_bytes)
