"""A blob on its way into the store: what is wanted, how far it is, and the digest that follows.

One thread a blob hashes the bytes from its beginning up to where they have no gap, from memory
where they were just written and else from the disk, so that the digest is known moments after the
last byte. Reads no network.
"""

import errno
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import httpx

from olmkit.registry import journal
from olmkit.registry.blobs import BlobStore
from olmkit.registry.digest import Digest
from olmkit.registry.directio import ALIGNMENT_BYTES, BLOCK_BYTES, Blocks
from olmkit.registry.errors import RemoteMisbehaved, store_errors
from olmkit.registry.pace import Pace, Retries
from olmkit.registry.segments import Layout

Open = Callable[[int, int | None], AbstractContextManager[httpx.Response]]
"""Streams the bytes from a start up to, without, an end; None: all the rest."""

Piece = tuple[memoryview, int]
"""A block of memory, and how many of its bytes count."""

NAP_S: Final = 0.05
AHEAD_BYTES: Final = 16 << 20
"""So far ahead of the hash the connections wait: faster they only take its processor away."""
BLOCKS_LIMIT: Final = 112
"""While more are in use, what was written is not kept in memory for the hash."""


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


class Arrival:
    """One blob on its way; its fields belong to the download's lock."""

    def __init__(self, wanted: Wanted, blobs: BlobStore) -> None:
        self.wanted = wanted
        self.digest: Digest | None = None
        """Set when the blob is in the store."""
        digest = wanted.digest
        if digest is not None and blobs.has(digest, wanted.size_bytes):
            self.digest = digest
        self.partial: journal.Partial | None = None
        self.layout: Layout | None = None
        self.ready_bytes = self.hashed_bytes = 0
        """From byte 0 on without a gap: how much is written, how much of that is hashed."""
        self.found_bytes = 0
        """Likewise: how much an earlier download had written."""
        self.awaited_offset = -1
        """Where the bytes are to go on that the hash waits for; -1: it has some."""
        self.written: dict[int, Piece] = {}
        """Blocks still in memory, by their offset, with how much of them counts."""
        self.is_elsewhere = False
        """Another process downloads it."""
        self.retries = Retries()
        self.was_wrong = False
        self.shown_bytes = self.saved_bytes = -1
        self.resumed_bytes = journal.completed_bytes(blobs.partial, wanted.name)

    @property
    def is_open(self) -> bool:
        """Whether bytes of it arrive or are hashed."""
        return self.layout is not None and self.digest is None

    @property
    def is_ahead(self) -> bool:
        """Whether the connections are too far ahead of the hash.

        They do not wait while it goes through what was there before: that is on the disk anyway.
        """
        is_own = self.hashed_bytes >= self.found_bytes
        return is_own and self.ready_bytes - self.hashed_bytes > AHEAD_BYTES


class Hasher:
    """Follows the readers of one download. `changed` is on `lock`, which guards every `Arrival`."""

    def __init__(
        self,
        blobs: BlobStore,
        blocks: Blocks,
        pace: Pace,
        lock: threading.RLock,
        changed: threading.Condition,
        is_stopped: Callable[[], bool],
    ) -> None:
        self._blobs = blobs
        self._blocks = blocks
        self._pace = pace
        self._changed = changed
        self._arrived = threading.Condition(lock)
        self._caught_up = threading.Condition(lock)
        self._is_stopped = is_stopped

    def keep(self, work: Arrival, offset: int, block: memoryview, count: int) -> bool:
        """Take a block whose first `count` bytes were written at `offset`; whether it was taken.

        Those that are hashed last make room. Called under the lock.
        """
        is_near = 0 <= offset - work.hashed_bytes < BLOCKS_LIMIT * BLOCK_BYTES
        if is_near and self._blocks.taken >= BLOCKS_LIMIT and work.written:
            furthest = max(work.written)
            if furthest > offset:
                self._blocks.give_back(work.written.pop(furthest)[0])
        is_kept = is_near and self._blocks.taken < BLOCKS_LIMIT and offset not in work.written
        if is_kept:
            work.written[offset] = (block, count)
        if offset == work.awaited_offset:
            self._arrived.notify_all()
        return is_kept

    def wait_behind(self, work: Arrival) -> None:
        """Return when the hash is not too far behind."""
        with self._caught_up:
            while work.is_ahead and not self._is_stopped():
                self._caught_up.wait(NAP_S)

    def forget(self, work: Arrival) -> None:
        """Let go of the blocks: other bytes will be written there. Called under the lock."""
        for block, _ in work.written.values():
            self._blocks.give_back(block)
        work.written.clear()

    def follow(self, work: Arrival, partial: journal.Partial, layout: Layout) -> None:
        """Follow the readers with the digest; put the blob into the store when it is right."""
        with partial.hold():
            self._follow(work, partial, layout)

    def _follow(self, work: Arrival, partial: journal.Partial, layout: Layout) -> None:
        while True:
            digest = self._digest(work, partial, layout)
            if digest is None:
                return
            expected = work.wanted.digest
            if expected in (None, digest):
                self._blobs.install(partial.path, digest, work.wanted.size_bytes)
                with self._changed:
                    work.digest, work.partial = digest, None
                    partial.remove()
                    self._changed.notify_all()
                return
            with self._changed:
                layout.forget_all()
                self.forget(work)
                work.ready_bytes = work.hashed_bytes = work.found_bytes = 0
                partial.save(layout.done())
                if work.was_wrong:
                    raise RemoteMisbehaved(
                        f"digest mismatch, file must be downloaded again: {work.wanted.host} sent "
                        f"{digest} instead of {expected}"
                    )
                work.was_wrong = True
                self._changed.notify_all()

    def _digest(self, work: Arrival, partial: journal.Partial, layout: Layout) -> Digest | None:
        """The digest of all bytes once they are there; None when the download ends before."""
        digest, offset = hashlib.sha256(), 0
        ahead: Future[memoryview] | None = None
        ahead_count = 0
        with ThreadPoolExecutor(1, "read") as executor:
            while offset < layout.size_bytes:
                found = self._next(work, layout, offset, ahead_count)
                if found is None:
                    return None
                block, count, following = found
                if block is None:
                    block = ahead.result() if ahead else self._read(partial, offset, count)
                offset += count
                ahead, ahead_count = None, following
                if following:
                    ahead = executor.submit(self._read, partial, offset, following)
                digest.update(block[:count])
                self._blocks.give_back(block)
        return Digest("sha256:" + digest.hexdigest())

    def _next(
        self, work: Arrival, layout: Layout, offset: int, ahead_count: int
    ) -> tuple[memoryview | None, int, int] | None:
        """What there is at `offset`, as soon as there is something; all before is hashed.

        A block, or None where it is to be read from the disk; how many bytes it has; how many are
        to be read behind these. None altogether when the download ends before. `ahead_count` bytes
        are read already.
        """
        with self._arrived:
            work.hashed_bytes = offset
            if work.ready_bytes - offset <= AHEAD_BYTES // 2:
                self._caught_up.notify_all()
            while True:
                if self._is_stopped():
                    return None
                block, count = work.written.pop(offset, (None, ahead_count))
                if count := count or self._on_disk(work, layout, offset):
                    return block, count, self._on_disk(work, layout, offset + count)
                work.awaited_offset = offset
                self._arrived.wait(NAP_S)
                work.awaited_offset = -1

    def _on_disk(self, work: Arrival, layout: Layout, offset: int) -> int:
        """How many bytes are to be read at `offset`, worth the while and not in memory."""
        work.ready_bytes = layout.prefix_end()
        following = min((at for at in work.written if at >= offset), default=layout.size_bytes)
        end = min(work.ready_bytes, following)
        is_all = end in (following, layout.size_bytes)
        return min(BLOCK_BYTES, end - offset) if is_all or end - offset >= BLOCK_BYTES else 0

    def _read(self, partial: journal.Partial, offset: int, count: int) -> memoryview:
        """A block that begins with `count` bytes from the disk."""
        block = self._blocks.take()
        whole = -(-count // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        try:
            with store_errors(self._blobs.partial, "read"):
                there = partial.file.read(block[:whole], offset, is_cached=self._pace.is_slow)
                if there < count:
                    raise OSError(errno.EIO, "the file is shorter than it was")
        except BaseException:
            self._blocks.give_back(block)
            raise
        return block
