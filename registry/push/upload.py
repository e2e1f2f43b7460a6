"""Uploads of the blobs that a registry lacks, in the way that it can take them.

Decides whether a blob is mounted, sent in one request or in chunks, and what is tried again. The
address of a chunked upload is kept on the disk, so that a push goes on after a kill.

Sources: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-blobs;
registries without chunks: https://github.com/kitops-ml/kitops/pull/780
"""

import contextlib
import hashlib
import json
import os
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from olmkit.registry.download.pace import TRIES, pause_s
from olmkit.registry.errors import (
    Cancelled,
    RegistryError,
    RemoteError,
    RemoteRejected,
    store_errors,
)
from olmkit.registry.events import BlobProgress, EventSink
from olmkit.registry.http.remote import RemoteRepository, Session
from olmkit.registry.http.transferlimits import TransferLimits
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor
from olmkit.registry.store.blobs import BlobStore
from olmkit.registry.store.journal import KEPT_S

STREAMS: Final = 4
TICK_S: Final = 0.1
PIECE_BYTES: Final = 256 << 10
ONE_REQUEST_HOSTS: Final = ("ghcr.io", "gcr.io", "pkg.dev", "amazonaws.com")
"""Registries that take no chunks, or fewer bytes than a sensible one has."""
NO_CHUNKS_STATUS: Final = frozenset({400, 404, 405, 411, 413, 415, 416, 501})


@dataclass(slots=True)
class _Blob:
    descriptor: Descriptor
    sent_bytes: int = 0
    shown_bytes: int = -1


def send(
    repository: RemoteRepository,
    wanted: Sequence[Descriptor],
    blobs: BlobStore,
    *,
    mounts: Mapping[Digest, str],
    on_event: EventSink,
    cancelled: threading.Event,
    limits: TransferLimits,
) -> None:
    """Upload the blobs of `wanted` that the repository lacks.

    `mounts` says in which other repository of the host a blob may be already. `on_event` is
    called in this thread.

    Raises:
        Cancelled: `cancelled` was set.
        RemoteError: refused or unreachable.
        StoreError: a blob is missing or was changed.
    """
    unique = {descriptor.digest: descriptor for descriptor in wanted}
    works = [_Blob(descriptor) for descriptor in unique.values()]
    waiting: queue.SimpleQueue[_Blob] = queue.SimpleQueue()
    for work in works:
        waiting.put(work)
    sender = _Sender(repository, blobs, mounts, cancelled, limits)
    count = min(len(works), limits.streams or STREAMS)
    threads = [
        threading.Thread(target=sender.run, args=(waiting,), name="upload", daemon=True)
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if cancelled.is_set():
            break
        for thread in threads:
            thread.join(TICK_S / count)
        _show(works, on_event)
    sender.raise_failure()
    if cancelled.is_set():
        raise Cancelled("the transfer was cancelled")
    _show(works, on_event)


def _show(works: Sequence[_Blob], on_event: EventSink) -> None:
    for work in works:
        if work.sent_bytes > work.shown_bytes:
            work.shown_bytes = work.sent_bytes
            digest = work.descriptor.digest
            on_event(
                BlobProgress(
                    label=f"pushing {digest.short}",
                    digest=digest,
                    completed_bytes=work.shown_bytes,
                    total_bytes=work.descriptor.size_bytes,
                )
            )


class _Sender:
    """Sends blobs; `run` is the life of one thread."""

    def __init__(
        self,
        repository: RemoteRepository,
        blobs: BlobStore,
        mounts: Mapping[Digest, str],
        cancelled: threading.Event,
        limits: TransferLimits,
    ) -> None:
        self._limits = limits
        self._repository = repository
        self._blobs = blobs
        self._mounts = mounts
        self._cancelled = cancelled
        self._failure: BaseException | None = None
        self._takes_chunks = not repository.host.endswith(ONE_REQUEST_HOSTS)

    def run(self, waiting: "queue.SimpleQueue[_Blob]") -> None:
        while self._failure is None and not self._cancelled.is_set():
            try:
                work = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self._send(work)
            except Cancelled:
                return
            except BaseException as error:
                self._fail(error)
                return

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error

    def raise_failure(self) -> None:
        """Raise what ended the work, if something did."""
        failure = self._failure
        if isinstance(failure, RegistryError):
            raise failure
        if failure is not None:
            raise RegistryError(f"the push failed: {failure!r}") from failure

    def _send(self, work: _Blob) -> None:
        """Send one blob, however many tries that takes."""
        descriptor = work.descriptor
        path = self._blobs.check(descriptor.digest, descriptor.size_bytes)
        record = _Record.of(self._blobs.partial, self._repository, descriptor.digest)
        failures, best_bytes = 0, 0
        while True:
            try:
                self._try(work, path, record)
                break
            except RemoteError as error:
                if not error.is_temporary:
                    raise
                if work.sent_bytes > best_bytes:
                    failures, best_bytes = 0, work.sent_bytes
                failures += 1
                if failures >= TRIES:
                    raise
                self._pause(failures, error)
        record.forget()
        work.sent_bytes = descriptor.size_bytes

    def _pause(self, failures: int, error: RemoteError) -> None:
        if self._cancelled.wait(pause_s(failures, error, self._limits)):
            raise Cancelled("the transfer was cancelled")

    def _try(self, work: _Blob, path: Path, record: "_Record") -> None:
        repository, descriptor = self._repository, work.descriptor
        digest, size = descriptor.digest, descriptor.size_bytes
        if repository.has_blob(digest):
            return
        session = self._resumed(record)
        if session is None:
            source = self._mounts.get(digest, "")
            session = repository.start_upload(mount=digest if source else None, source=source)
        if session is None:
            return  # mounted
        if size > max(self._limits.chunk_bytes, session.min_chunk_bytes) and self._takes_chunks:
            session = self._send_chunks(work, path, session, record)
        if session is not None and session.received_bytes >= size > 0:
            repository.finish_upload(session, digest)
        elif session is not None:
            body = _Body(work, path, 0, size, self._cancelled)
            repository.finish_upload(session, digest, body, size)

    def _resumed(self, record: "_Record") -> Session | None:
        """An earlier upload that the registry still knows.

        Distribution's registry gives an upload up whose last chunk broke off, for the offset in its
        signed address is then another than the length of its file (2.8): there a push goes on with
        whole blobs.
        """
        address = record.read()
        if address is None or not self._takes_chunks:
            return None
        try:
            return self._repository.upload_state(self._repository.session_at(address))
        except RemoteError as error:
            if error.is_temporary and error.status is None:
                raise
            record.forget()
            return None

    def _send_chunks(
        self, work: _Blob, path: Path, session: Session, record: "_Record"
    ) -> Session | None:
        """Send everything in chunks; a session without bytes when the registry takes none."""
        size = work.descriptor.size_bytes
        chunk = max(self._limits.chunk_bytes, session.min_chunk_bytes)
        while session.received_bytes < size:
            start = session.received_bytes
            work.sent_bytes = start
            record.write(str(session.address))
            count = min(chunk, size - start)
            body = _Body(work, path, start, count, self._cancelled)
            try:
                session = self._repository.send_chunk(session, body, start=start, size_bytes=count)
            except RemoteRejected as error:
                if error.status not in NO_CHUNKS_STATUS:
                    raise
                record.forget()
                if start and error.status == 416:
                    session = self._repository.upload_state(session)
                    if session.received_bytes != start:
                        continue
                self._takes_chunks = False
                return self._repository.start_upload()
            if session.received_bytes <= start:
                raise RemoteRejected(
                    f"{self._repository.host} took none of the bytes", is_temporary=True
                )
        return session


class _Body:
    """A part of a file as a request's body, which can be iterated again."""

    def __init__(
        self, work: _Blob, path: Path, start: int, size_bytes: int, cancelled: threading.Event
    ) -> None:
        self._work = work
        self._path = path
        self._start = start
        self._size_bytes = size_bytes
        self._cancelled = cancelled

    def __iter__(self) -> Iterator[bytes]:
        with store_errors(self._path, "read"), open(self._path, "rb") as file:
            file.seek(self._start)
            left = self._size_bytes
            while left and (piece := file.read(min(PIECE_BYTES, left))):
                if self._cancelled.is_set():
                    raise Cancelled("the transfer was cancelled")
                yield piece
                left -= len(piece)
                self._work.sent_bytes = self._start + self._size_bytes - left


@dataclass(frozen=True, slots=True)
class _Record:
    """The file that keeps the address of an upload in progress."""

    path: Path

    @classmethod
    def of(cls, folder: Path, repository: RemoteRepository, digest: Digest) -> "_Record":
        key = f"{repository.host}/{repository.repository}@{digest}"
        name = hashlib.sha256(key.encode()).hexdigest()
        return cls(folder / "uploads" / f"{name}.json")

    def read(self) -> str | None:
        try:
            if time.time() - self.path.stat().st_mtime > KEPT_S:
                return None
            return str(json.loads(self.path.read_bytes()[:65536])["address"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, address: str) -> None:
        """Keep the address. In a store that cannot be written, the upload just cannot be
        resumed."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            staged = self.path.with_suffix(".new")
            fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(fd, "w") as file:
                json.dump({"address": address}, file)
            os.replace(staged, self.path)

    def forget(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink()
