"""A blob on its way into the store: what is wanted, how far it is, and the digest that follows.

The bytes are hashed from the beginning up to where they have no gap, from memory where they were
just written and else from the disk, so that the digest is known moments after the last byte. One
thread a blob hashes; all else happens in the reactor's. Reads no network.
"""

import errno
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Final

import httpx

from olmkit.registry.download.pace import Pace, Retries
from olmkit.registry.download.reactor import Reactor, Workers
from olmkit.registry.download.segments import Layout
from olmkit.registry.errors import RemoteMisbehaved, store_errors
from olmkit.registry.oci.digest import Digest
from olmkit.registry.store import journal
from olmkit.registry.store.blobs import BlobStore
from olmkit.registry.store.directio import ALIGNMENT_BYTES, BLOCK_BYTES, Blocks

Open = Callable[[int, int | None], AbstractContextManager[httpx.Response]]
"""Streams the bytes from a start up to, without, an end; None: all the rest."""

Piece = tuple[memoryview, int]
"""A block of memory, and how many of its bytes count."""

AHEAD_BYTES: Final = 16 << 20
"""Connections wait so far ahead of a hash that reads from the disk."""
WAIT_BLOCKS: Final = 72
"""While so many are in use, connections wait for the hash."""
SPARE_BLOCKS: Final = 16
"""So many fewer must be before they go on."""
BLOCKS_LIMIT: Final = 96
"""While so many are in use, what connections bring is not kept, and read again for the hash."""
SPILL_S: Final = 0.05
"""The hash waits so long for a slow connection before the others go on without it."""
READS_LIMIT: Final = 2
"""So many blocks are read from the disk at once."""
QUEUE_LIMIT: Final = 64
"""So many blocks wait for the thread that hashes, at most: it must not wait for the others."""
READ_AHEAD_BLOCKS: Final = 8
"""So many blocks are read from the disk before their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A blob to download."""

    label: str
    name: str
    """Of the unfinished file: the digest's, or one that stands for exactly these bytes."""
    size_bytes: int
    digest: Digest | None
    """None: whatever arrives is right; its digest is returned."""
    open: Open
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """What the parts of one download share."""

    reactor: Reactor
    network: Workers
    """For what waits for a server: requests, and bodies that cannot be read without."""
    writers: Workers
    readers: Workers
    """Of the disk, both; who reads holds the hash up, and does not queue behind who writes."""
    blocks: Blocks
    pace: Pace


class Arrival:
    """One blob on its way, and where it stands."""

    def __init__(self, wanted: Wanted, blobs: BlobStore) -> None:
        self.wanted = wanted
        self.digest: Digest | None = None
        """Set when the blob is in the store."""
        digest = wanted.digest
        if digest is not None and blobs.has(digest, wanted.size_bytes):
            self.digest = digest
        self.partial: journal.Partial | None = None
        self.layout: Layout | None = None
        self.hasher: Hasher | None = None
        self.is_saving = False
        """Its journal is being written."""
        self.is_elsewhere = False
        """Another process downloads it."""
        self.retries = Retries()
        self.shown_bytes = self.saved_bytes = -1
        self.resumed_bytes = journal.completed_bytes(blobs.partial, wanted.name)

    @property
    def is_open(self) -> bool:
        """Whether bytes of it arrive or are hashed."""
        return self.layout is not None and self.digest is None


class Hasher:
    """Follows what is written of one blob with its digest, and puts the blob into the store.

    `stored` is called at the end, `failed` when that cannot be. A digest that is wrong once makes
    the layout forget all bytes.
    """

    def __init__(
        self,
        wanted: Wanted,
        blobs: BlobStore,
        unfinished: journal.Partial,
        layout: Layout,
        crew: Crew,
        *,
        stored: Callable[[Digest], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._wanted = wanted
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
        """What is in memory and not yet with the thread, by its offset."""
        self._reading: dict[int, int] = {}
        """Offsets where blocks are being read from the disk, with how many bytes."""
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        """Who is called when there is room at an offset, by that."""
        self._fits_in_memory = self._may_spill = False
        self._busy_at_s = 0.0
        self._found_bytes = layout.prefix_end()
        """How much an earlier download had written without a gap."""
        self._was_wrong = False
        self._begin()

    def _begin(self) -> None:
        self._sum = hashlib.sha256()
        self._ready_bytes = self._layout.prefix_end()
        self._queued_bytes = self._hashed_bytes = 0
        """From byte 0 on: written, handed to the thread, and hashed."""

    @property
    def behind_bytes(self) -> int:
        """How much is written without a gap, and not hashed."""
        return self._ready_bytes - self._hashed_bytes

    def has_room(self, offset: int, spare_blocks: int = 0) -> bool:
        """Whether bytes may be written at `offset` now; else their connection is to wait.

        Faster, it would only take the hash's processor away, and fill the memory with what is not
        its turn. While there is much to hash that was there before, nothing waits.
        """
        if self._hashed_bytes < self._found_bytes or self._may_spill:
            return True
        if not self._fits_in_memory:
            return self.behind_bytes <= AHEAD_BYTES
        is_near = offset - self._queued_bytes < WAIT_BLOCKS * BLOCK_BYTES
        is_free = self._blocks.taken < WAIT_BLOCKS - spare_blocks
        return (is_near and is_free) or offset <= self._queued_bytes

    def when_room(self, offset: int, callback: Callable[[], None]) -> None:
        """Have `callback` called when `has_room` may have changed for `offset`."""
        self._waiting.append((offset, callback))
        self._waiting.sort(key=itemgetter(0))

    def look(self, now_s: float) -> None:
        """Let connections go on beyond what fits into memory, where the hash waits for others."""
        if self.thread.pending:
            self._busy_at_s = now_s
        self._may_spill = now_s - self._busy_at_s > SPILL_S
        self._fits_in_memory = self._pace.fits_in_memory
        self._call_waiting()

    def _call_waiting(self) -> None:
        """Those first that wait for the lowest offset."""
        while self._waiting and self.has_room(self._waiting[0][0], SPARE_BLOCKS):
            _, callback = self._waiting.pop(0)
            callback()

    def take(self, offset: int, block: memoryview, count: int) -> None:
        """Hash the first `count` bytes of a block, which are being written at `offset`.

        Where there is no room to keep the block until it is its turn, it is read again then. Those
        that are hashed last make room.
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
        """Bytes that it took, or has to read, are on the disk."""
        self._ready_bytes = self._layout.prefix_end()
        self.follow()

    def forget(self) -> None:
        """Let go of what waits in memory: other bytes will be written there."""
        for block, _ in self._pieces.values():
            self._blocks.give_back(block)
        self._pieces.clear()

    def follow(self) -> None:
        """Hash what there is by now."""
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
        """Have what comes next read from the disk, where it is not in memory any more."""
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
        """How many bytes are there, or will be soon."""
        found = self._pieces.get(offset)
        return found[1] if found else self._reading.get(offset, 0)

    def _on_disk(self, offset: int) -> int:
        """How many bytes are to be read at `offset`, worth the while and not in memory."""
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
        wanted, expected = self._wanted, self._wanted.digest
        if expected in (None, digest):
            install = partial(self._blobs.install, self._partial.path, digest, wanted.size_bytes)
            self.thread.submit(install, partial(self._installed, digest), self._failed)
        elif self._was_wrong or not wanted.size_bytes:
            self._failed(
                RemoteMisbehaved(
                    f"digest mismatch, file must be downloaded again: {wanted.host} sent "
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
        """Hash nothing more than what the thread has already."""
        self._is_stopped = True
