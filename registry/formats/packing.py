"""Weights packed for a push: a tar archive of the one file, compressed by zstd.

Only what really shrinks is packed, which quantized weights do not: a few samples tell, before the
whole file is read. Source: ModelPack 0.0.7, whose only compressed layers are `tar+gzip` and
`tar+zstd`.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zstandard

from olmkit.registry.errors import Cancelled, store_errors
from olmkit.registry.events import BlobProgress
from olmkit.registry.formats.parts import ModelParts, Part, Role, names_of, role_of_name
from olmkit.registry.formats.unpacking import Bench
from olmkit.registry.oci.digest import Digest
from olmkit.registry.tar import tarstream
from olmkit.registry.tar.compression import PLAIN_ALLOWANCE_BYTES, RATIO_LIMIT

LEAST_BYTES: Final = 1 << 20
WORTHWHILE: Final = 0.9
"""Largest share of its size that a file may keep to be worth packing."""
_LEVEL: Final = 3
_THREADS_LIMIT: Final = 8
_PIECE_BYTES: Final = 1 << 20
_SAMPLES: Final = 8
_ROLES: Final = (Role.WEIGHTS, Role.PROJECTOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A layer with one file in it."""

    digest: Digest
    size_bytes: int
    diff_id: Digest
    """Digest of the archive before its compression."""


def pack(bench: Bench, parts: ModelParts) -> Mapping[Digest, Packed]:
    """The packed layers of those files that shrink, by the files' digests; they are blobs.

    Equal files give equal layers, with the same release of zstd. Hold `store.lease()` until they
    are sent.

    Raises:
        Cancelled: `bench.cancelled` was set.
        StoreError, DiskFull: a blob cannot be read or written.
    """
    packed: dict[Digest, Packed] = {}
    for part, name in zip(parts.parts, names_of(parts.parts), strict=True):
        if part.role not in _ROLES or role_of_name(name) is not part.role:
            continue  # the name has to tell the role when it is unpacked
        path = bench.store.blobs.check(part.digest, part.size_bytes)
        if part.size_bytes >= LEAST_BYTES and _shrinks(path, part.size_bytes):
            found = _packed(bench, part, name, path)
            if found is not None:
                packed[part.digest] = found
    return packed


def _is_worthwhile(packed_bytes: int, plain_bytes: int) -> bool:
    """Whether a file shrank enough, but not so much that readers take it for a bomb."""
    may_expand = plain_bytes <= PLAIN_ALLOWANCE_BYTES + RATIO_LIMIT * packed_bytes
    return packed_bytes <= WORTHWHILE * plain_bytes and may_expand


def _shrinks(path: Path, size_bytes: int) -> bool:
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    before = after = 0
    with store_errors(path, "read"), open(path, "rb") as file:
        for index in range(_SAMPLES):
            file.seek(index * (size_bytes // _SAMPLES))
            sample = file.read(min(_PIECE_BYTES, size_bytes // _SAMPLES))
            before += len(sample)
            after += len(compressor.compress(sample))
    return after <= WORTHWHILE * before


def _packed(bench: Bench, part: Part, name: str, path: Path) -> Packed | None:
    """The layer; `None`, and no blob, when the whole file does not shrink after all."""
    threads = min(os.cpu_count() or 1, _THREADS_LIMIT)
    stream = zstandard.ZstdCompressor(level=_LEVEL, threads=threads).compressobj()
    diff = hashlib.sha256()
    with bench.store.blobs.writer() as writer:
        for piece in _archive(bench, part, name, path):
            diff.update(piece)
            writer.write(stream.compress(piece))
        writer.write(stream.flush())
        size_bytes = writer.written_bytes
        if not _is_worthwhile(size_bytes, part.size_bytes):
            return None
        digest = writer.commit()
    diff_id = Digest(f"sha256:{diff.hexdigest()}")
    return Packed(digest=digest, size_bytes=size_bytes, diff_id=diff_id)


def _archive(bench: Bench, part: Part, name: str, path: Path) -> Iterator[bytes]:
    yield tarstream.header(name, part.size_bytes)
    done_bytes = 0
    with store_errors(path, "read"), open(path, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            if bench.cancelled is not None and bench.cancelled.is_set():
                raise Cancelled("cancelled: nobody waits for the push")
            yield piece
            done_bytes += len(piece)
            if bench.on_event is not None:
                label = f"compressing {part.digest.short}"
                bench.on_event(
                    BlobProgress(
                        label=label, completed_bytes=done_bytes, total_bytes=part.size_bytes
                    )
                )
    yield tarstream.padding(part.size_bytes) + tarstream.END
