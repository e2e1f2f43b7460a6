"""Blobs that a client uploads to the daemon, resumed where an earlier request broke off.

The bytes of an unfinished upload are kept beside the blobs with a journal, as those of unfinished
downloads are, and are removed with them after a while. They become a blob only when the digest of
all bytes is right.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from olmkit.registry.errors import CorruptBlob, store_errors
from olmkit.registry.oci.digest import BLOCK_BYTES, Digest
from olmkit.registry.store import journal
from olmkit.registry.store.blobs import BlobStore

SAVE_BYTES: Final = 16 << 20
"""Bytes between two writes of the journal; a killed daemon loses no more than these."""


class ResumableWriter:
    """Takes the bytes of one blob in order; made by `resumable_writer`. One thread at a time."""

    def __init__(self, blobs: BlobStore, digest: Digest, partial: journal.Partial) -> None:
        self._blobs = blobs
        self._digest = digest
        self._partial = partial
        self._hasher = hashlib.sha256()
        self._saved_bytes = 0
        self.is_over = False
        """Whether nothing is left to resume: the blob is stored, or its bytes were wrong."""
        self.received_bytes = 0
        """Number of bytes, those of earlier requests included."""

    def start_at(self, offset_bytes: int) -> None:
        """Hash the first `offset_bytes` bytes, which earlier requests brought, and go on behind.

        Raises:
            StoreError: they cannot be read.
        """
        with store_errors(self._partial.path, "read"):
            while self.received_bytes < offset_bytes:
                size = min(BLOCK_BYTES, offset_bytes - self.received_bytes)
                block = os.pread(self._partial.fd, size, self.received_bytes)
                if not block:
                    break  # the digest will tell
                self._hasher.update(block)
                self.received_bytes += len(block)
        self._saved_bytes = offset_bytes

    def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            CorruptBlob: more bytes than announced.
            DiskFull, StoreError: they cannot be written.
        """
        partial = self._partial
        if self.received_bytes + len(data) > partial.size_bytes:
            raise self._refusal(f"more than {partial.size_bytes} bytes")
        partial.reserve(self.received_bytes)
        with store_errors(partial.path.parent, "write to", needed_bytes=partial.size_bytes):
            view = memoryview(data)
            while view:
                count = os.pwrite(partial.fd, view, self.received_bytes)
                self._hasher.update(view[:count])
                self.received_bytes += count
                view = view[count:]
        if self.received_bytes - self._saved_bytes >= SAVE_BYTES:
            self.save()

    def save(self) -> None:
        """Record in the journal how much is there. Raises: StoreError."""
        self._partial.done.add(0, self.received_bytes)
        self._partial.save(self._partial.done)
        self._saved_bytes = self.received_bytes

    def commit(self) -> None:
        """Make the bytes a blob.

        Raises:
            CorruptBlob: too few bytes, or others than the digest's; then none are kept.
            DiskFull, StoreError: the blob cannot be written.
        """
        size = self._partial.size_bytes
        if self.received_bytes != size:
            raise self._refusal(f"{self.received_bytes} of {size} bytes")
        actual = Digest("sha256:" + self._hasher.hexdigest())
        self.is_over = True
        if actual != self._digest:
            raise self._refusal(actual)
        self._blobs.install(self._partial.path, actual, size)

    def _refusal(self, actual: str) -> CorruptBlob:
        return CorruptBlob(
            f"the content of {self._digest} does not match: got {actual}",
            path=str(self._partial.path),
            expected=self._digest,
            actual=actual,
        )


def held_bytes(blobs: BlobStore, digest: Digest) -> int:
    """Number of bytes, from the blob's first on, that earlier requests brought."""
    return journal.prefix_bytes(blobs.partial, digest.file_name)


@contextmanager
def resumable_writer(
    blobs: BlobStore, digest: Digest, size_bytes: int, offset_bytes: int
) -> Iterator[ResumableWriter | None]:
    """A writer for the bytes from `offset_bytes` on; what it wrote is kept when the block fails.

    None when fewer bytes than that are there, or another request uploads the same blob.

    Raises:
        DiskFull: no room for the blob.
        StoreError: the store cannot be written.
    """
    partial = journal.claim(
        blobs.partial, digest.file_name, size_bytes, kept_free_bytes=blobs.kept_free_bytes
    )
    if partial is None:
        yield None
        return
    writer = ResumableWriter(blobs, digest, partial)
    try:
        if offset_bytes > partial.done.prefix_end:
            yield None
            return
        partial.lay_out()
        writer.start_at(offset_bytes)
        yield writer
    finally:
        if writer.is_over or not (writer.received_bytes or partial.done.total_bytes):
            partial.remove()
        else:
            try:
                writer.save()
            finally:
                partial.close()
