"""A blob on its way into the store: what is wanted, how far it is, and the digest that follows.

One thread a blob hashes the bytes from its beginning up to where they have no gap, so that the
digest is known moments after the last byte. Reads no network.
"""

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import httpx

from olmkit.registry import journal
from olmkit.registry.blobs import BlobStore
from olmkit.registry.digest import BLOCK_BYTES, Digest
from olmkit.registry.errors import RemoteMisbehaved, store_errors
from olmkit.registry.pace import Retries
from olmkit.registry.segments import Layout

Open = Callable[[int, int | None], AbstractContextManager[httpx.Response]]
"""Streams the bytes from a start up to, without, an end; None: all the rest."""

HASHER_NAP_S: Final = 0.01


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
        self.hashed_bytes = 0
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


class Hasher:
    """Follows the readers of one download; `changed` is its lock, which guards every `Arrival`."""

    def __init__(
        self, blobs: BlobStore, changed: threading.Condition, is_stopped: Callable[[], bool]
    ) -> None:
        self._blobs = blobs
        self._changed = changed
        self._is_stopped = is_stopped

    def follow(self, work: Arrival, partial: journal.Partial, layout: Layout) -> None:
        """Follow the readers with the digest; put the blob into the store when it is right."""
        while True:
            digest = self._digest(work, partial.fd, layout)
            if digest is None:
                return
            expected = work.wanted.digest
            if expected in (None, digest):
                self._blobs.install(partial.path, digest, work.wanted.size_bytes)
                with self._changed:
                    work.digest = digest
                    if work.partial is not None:  # not let go of meanwhile
                        work.partial = None
                        partial.remove()
                    self._changed.notify_all()
                return
            with self._changed:
                layout.forget_all()
                partial.save(layout.done())
                if work.was_wrong:
                    raise RemoteMisbehaved(
                        f"digest mismatch, file must be downloaded again: {work.wanted.host} sent "
                        f"{digest} instead of {expected}"
                    )
                work.was_wrong = True
                self._changed.notify_all()

    def _digest(self, work: Arrival, fd: int, layout: Layout) -> Digest | None:
        """The digest of all bytes once they are there; None when the download ends before."""
        hasher = hashlib.sha256()
        size = layout.size_bytes
        view = memoryview(bytearray(min(BLOCK_BYTES, max(size, 1))))
        ready = offset = 0
        while True:
            with self._changed:
                work.hashed_bytes = offset
                while ready < size and ready - offset < len(view):
                    if self._is_stopped():
                        return None
                    ready = layout.prefix_end()
                    if ready < size and ready - offset < len(view):
                        self._changed.wait(HASHER_NAP_S)
            if offset >= size:
                return Digest("sha256:" + hasher.hexdigest())
            with store_errors(self._blobs.partial, "read"):
                count = os.preadv(fd, [view[: ready - offset]], offset)
            hasher.update(view[:count])
            offset += count
