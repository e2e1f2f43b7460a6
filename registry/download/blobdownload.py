"""The download of one blob: what is known of it, how far it is, and its digest.

Bytes arrive in any order and are hashed in order, from byte 0 up to the first gap: from memory when
they were just written, else from the disk. So the digest is known moments after the last byte. One
thread for each blob hashes; everything else happens in the reactor's thread. Reads no network.
"""

import errno
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Final, Protocol

import httpx

from olmkit.registry.download.pace import Pace, Retries
from olmkit.registry.download.reactor import Reactor, Workers
from olmkit.registry.download.segments import Layout
from olmkit.registry.errors import RemoteMisbehaved, store_errors
from olmkit.registry.http.transferlimits import TransferLimits
from olmkit.registry.oci.digest import Digest
from olmkit.registry.store import journal
from olmkit.registry.store.blobs import BlobStore
from olmkit.registry.store.directio import ALIGNMENT_BYTES, BLOCK_BYTES, Blocks

Open = Callable[[int, int | None], AbstractContextManager[httpx.Response]]
"""Streams the bytes from a start to an end, which is excluded; without an end, all the rest."""

Piece = tuple[memoryview, int]
"""A block of memory, and how many of its bytes count."""

AHEAD_BYTES: Final = 16 << 20
"""Connections wait when they are so far ahead of a hash that reads from the disk."""
WAIT_BLOCKS: Final = 72
"""Blocks in use at which connections begin to wait for the hash."""
SPARE_BLOCKS: Final = 16
"""Blocks that must be free again, below `WAIT_BLOCKS`, before connections go on."""
BLOCKS_LIMIT: Final = 96
"""Blocks in use at which new bytes are not kept in memory, but read again for the hash."""
SPILL_S: Final = 0.05
"""Time that the hash waits for a slow connection before the others may go on without it."""
READS_LIMIT: Final = 2
"""Blocks that are read from the disk at the same time."""
QUEUE_LIMIT: Final = 64
"""Most blocks that are queued for the hashing thread, which must never run out of work."""
READ_AHEAD_BLOCKS: Final = 8
"""Blocks that are read from the disk before they are hashed."""


class RunningHash(Protocol):
    """A hash that takes the bytes piece by piece, as those of hashlib."""

    def update(self, data: memoryview, /) -> None:
        """Hash the next bytes."""

    def hexdigest(self) -> str:
        """The hash of all bytes so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteBlob:
    """A blob at a remote host, and how to read it."""

    label: str
    """What progress events call it."""
    name: str
    """File name of the partial download: the digest, or a name for exactly these bytes."""
    size_bytes: int
    digest: Digest | None
    """The digest to check; None where it is not known before the download."""
    open: Open
    host: str
    new_hash: Callable[[], RunningHash] = hashlib.sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The reactor, threads and memory that all blobs and connections of one transfer share."""

    reactor: Reactor
    network: Workers
    """Threads that wait for servers: for requests, and for bodies that only block."""
    writers: Workers
    """Threads that write to the disk."""
    readers: Workers
    """Threads that read from the disk for the hash, which must not queue behind writers."""
    blocks: Blocks
    pace: Pace


class BlobDownload:
    """The state of one blob's download."""

    def __init__(self, blob: RemoteBlob, blobs: BlobStore, limits: TransferLimits) -> None:
        self.blob = blob
        self.digest: Digest | None = None
        """The digest, once the blob is in the store."""
        digest = blob.digest
        if digest is not None and blobs.has(digest, blob.size_bytes):
            self.digest = digest
        self.partial: journal.Partial | None = None
        self.layout: Layout | None = None
        self.hasher: Hasher | None = None
        self.is_saving = False
        """Whether the journal is being written."""
        self.is_elsewhere = False
        """Whether another process downloads the blob."""
        self.retries = Retries(limits)
        self.shown_bytes = self.saved_bytes = -1
        self.resumed_bytes = journal.completed_bytes(blobs.partial, blob.name)

    @property
    def is_open(self) -> bool:
        """Whether bytes of the blob are being downloaded or hashed."""
        return self.layout is not None and self.digest is None


class Hasher:
    """Hashes one blob while it is written, and puts it into the store when the digest is right.

    `stored` is called when the blob is in the store, `failed` when it cannot be put there. The
    first wrong digest makes the layout forget all bytes, so that they are downloaded again; the
    second one is an error.
    """

    def __init__(
        self,
        blob: RemoteBlob,
        blobs: BlobStore,
        unfinished: journal.Partial,
        layout: Layout,
        crew: Crew,
        *,
        stored: Callable[[Digest], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._blob = blob
        self._blobs = blobs
        self._partial = unfinished
        self._layout = layout
        self._blocks = crew.blocks
        self._pace = crew.pace
        self._readers = crew.readers
        self.thread = Workers(crew.reactor, "hash", 1)
        self._is_stopped = False
        self._stored = stored
        self._failed = failed
        self._pieces: dict[int, Piece] = {}
        """Bytes in memory that the thread does not have yet, by offset."""
        self._reading: dict[int, int] = {}
        """Sizes of the blocks that are being read from the disk, by offset."""
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        """Callbacks of connections that wait for room, by the offset that they want to write at."""
        self._fits_in_memory = self._may_spill = False
        self._busy_at_s = 0.0
        self._found_bytes = layout.prefix_end()
        """Bytes from the first one on that an earlier download had written."""
        self._was_wrong = False
        self._begin()

    def _begin(self) -> None:
        self._sum = self._blob.new_hash()
        self._ready_bytes = self._layout.prefix_end()
        self._queued_bytes = self._hashed_bytes = 0
        """Bytes from the first one on that were written, handed to the thread, and hashed."""

    @property
    def behind_bytes(self) -> int:
        """Bytes that are written without a gap and not yet hashed."""
        return self._ready_bytes - self._hashed_bytes

    def has_room(self, offset: int, spare_blocks: int = 0) -> bool:
        """Whether a connection may write at `offset` now; if not, it waits.

        A connection that ran ahead would only take processor time from the hash, and fill the
        memory with bytes that are hashed last. Nothing waits while the hash is still busy with the
        bytes of an earlier download.
        """
        if self._hashed_bytes < self._found_bytes or self._may_spill:
            return True
        if not self._fits_in_memory:
            return self.behind_bytes <= AHEAD_BYTES
        is_near = offset - self._queued_bytes < WAIT_BLOCKS * BLOCK_BYTES
        is_free = self._blocks.taken < WAIT_BLOCKS - spare_blocks
        return (is_near and is_free) or offset <= self._queued_bytes

    def when_room(self, offset: int, callback: Callable[[], None]) -> None:
        """Call `callback` when `has_room` may have changed for `offset`."""
        self._waiting.append((offset, callback))
        self._waiting.sort(key=itemgetter(0))

    def look(self, now_s: float) -> None:
        """Notice how the hash keeps up; called from time to time.

        When the hash waits for one slow connection, the others may write more than fits in memory.
        """
        if self.thread.pending:
            self._busy_at_s = now_s
        self._may_spill = now_s - self._busy_at_s > SPILL_S
        self._fits_in_memory = self._pace.fits_in_memory
        self._call_waiting()

    def _call_waiting(self) -> None:
        """Call the callbacks for which there is room, the lowest offset first."""
        while self._waiting and self.has_room(self._waiting[0][0], SPARE_BLOCKS):
            _, callback = self._waiting.pop(0)
            callback()

    def take(self, offset: int, block: memoryview, count: int) -> None:
        """Hash the first `count` bytes of a block, which are being written at `offset`.

        A block that there is no room to keep is read from the disk when its turn comes. Of all
        blocks, those that are hashed last make room for the others.
        """
        if self._blocks.taken >= BLOCKS_LIMIT and self._pieces:
            furthest = max(self._pieces)
            if furthest > offset:
                self._blocks.give_back(self._pieces.pop(furthest)[0])
        is_near = 0 <= offset - self._queued_bytes < BLOCKS_LIMIT * BLOCK_BYTES
        if is_near and self._blocks.taken < BLOCKS_LIMIT and offset not in self._pieces:
            self._blocks.share(block)
            self._pieces[offset] = (block, count)
            self.follow()

    def was_written(self) -> None:
        """Go on after more bytes were written to the disk."""
        self._ready_bytes = self._layout.prefix_end()
        self.follow()

    def forget(self) -> None:
        """Drop the blocks in memory, because other bytes will be written in their places."""
        for block, _ in self._pieces.values():
            self._blocks.give_back(block)
        self._pieces.clear()

    def follow(self) -> None:
        """Hash the bytes that come next, as far as they are there."""
        if self._is_stopped:
            return
        while self.thread.pending < QUEUE_LIMIT:
            if (piece := self._pieces.pop(self._queued_bytes, None)) is None:
                break
            block, count = piece
            self._queued_bytes += count
            update = partial(self._sum.update, block[:count])
            hashed = partial(self._hashed, block, count)
            self.thread.submit(update, hashed, self._failed)
        self._read_ahead()
        size_bytes = self._layout.size_bytes
        if self._hashed_bytes == self._ready_bytes == size_bytes and not self.thread.pending:
            self._end()

    def _hashed(self, block: memoryview, count: int, _: None) -> None:
        self._hashed_bytes += count
        self._blocks.give_back(block)
        self.follow()
        self._call_waiting()

    def _read_ahead(self) -> None:
        """Read the bytes that come next from the disk, where they are not in memory."""
        if self.thread.pending > READ_AHEAD_BLOCKS:
            return
        offset = self._queued_bytes
        while len(self._reading) < READS_LIMIT:
            while there := self._in_memory(offset):
                offset += there
            if not (count := self._on_disk(offset)):
                return
            block = self._blocks.take()
            self._reading[offset] = count
            read = partial(self._read, block, offset, count)
            self._readers.submit(read, partial(self._was_read, block, offset), self._failed)

    def _in_memory(self, offset: int) -> int:
        """Number of bytes at `offset` that are in memory, or are being read into it."""
        found = self._pieces.get(offset)
        return found[1] if found else self._reading.get(offset, 0)

    def _on_disk(self, offset: int) -> int:
        """Number of bytes to read from the disk at `offset`; 0 where a read is not worth it yet."""
        if offset - self._queued_bytes >= READ_AHEAD_BLOCKS * BLOCK_BYTES:
            return 0
        size_bytes = self._layout.size_bytes
        known = (at for at in (*self._pieces, *self._reading) if at >= offset)
        following = min(known, default=size_bytes)
        end = min(self._ready_bytes, following)
        count = min(BLOCK_BYTES, end - offset)
        return count if end in (following, size_bytes) or count == BLOCK_BYTES else 0

    def _read(self, block: memoryview, offset: int, count: int) -> int:
        whole = -(-count // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        with self._partial.hold(), store_errors(self._blobs.partial, "read"):
            file = self._partial.file
            if file.read(block[:whole], offset, is_cached=self._pace.is_slow) < count:
                raise OSError(errno.EIO, "the file is shorter than it was")
        return count

    def _was_read(self, block: memoryview, offset: int, count: int) -> None:
        del self._reading[offset]
        self._pieces[offset] = (block, count)
        self.follow()

    def _end(self) -> None:
        digest = Digest("sha256:" + self._sum.hexdigest())
        blob, expected = self._blob, self._blob.digest
        if expected in (None, digest):
            install = partial(self._blobs.install, self._partial.path, digest, blob.size_bytes)
            self.thread.submit(install, partial(self._installed, digest), self._failed)
        elif self._was_wrong or not blob.size_bytes:
            self._failed(
                RemoteMisbehaved(
                    f"digest mismatch, file must be downloaded again: {blob.host} sent "
                    f"{digest} instead of {expected}"
                )
            )
        else:
            self._was_wrong = True
            self._found_bytes = 0
            self._layout.forget_all()
            self._partial.save(self._layout.done())
            self._begin()

    def _installed(self, digest: Digest, _: None) -> None:
        self.stop()
        self.thread.end()
        self._stored(digest)

    def stop(self) -> None:
        """Stop after the bytes that the thread already has."""
        self._is_stopped = True
