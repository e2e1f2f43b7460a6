"""Blobs out of the network into the store: parallel ranges, resumed, retried, verified.

Decides how many connections read which ranges, when one is too slow, and what is tried again. The
calling thread owns all state (`reactor`); `rangestream` writes the bytes that arrive and
`blobdownload` hashes them. Knows no registry: a blob is whatever `RemoteBlob.open` streams. Only
one process downloads a blob at a time; others wait for it.
"""

import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

import httpx

from olmkit.registry.download import pace
from olmkit.registry.download.blobdownload import BlobDownload, Crew, Hasher, RemoteBlob
from olmkit.registry.download.rangestream import HttpConnection, Stream
from olmkit.registry.download.reactor import Reactor, Workers
from olmkit.registry.download.segments import Layout, Segment
from olmkit.registry.errors import (
    Cancelled,
    RemoteError,
    StoreError,
    Unreachable,
)
from olmkit.registry.events import BlobProgress, EventSink
from olmkit.registry.http.transferlimits import TransferLimits
from olmkit.registry.oci.digest import Digest
from olmkit.registry.store import journal
from olmkit.registry.store.blobs import BlobStore
from olmkit.registry.store.directio import Blocks
from olmkit.registry.store.room import require_room

OPEN_BLOBS_LIMIT: Final = 16
TICK_S: Final = 0.1
"""Time between two progress events, and between two looks at which connections are too slow."""
ROOM_FACTOR: Final = 1.02
DISK_THREADS: Final = 4
NETWORK_THREADS: Final = 4 * pace.MOST_STREAMS
"""More than there are connections: requests that were given up still wait for their time-outs."""
STOP_S: Final = 5.0
"""Time that a stop waits for the threads that use the disk."""
ASKING_STOP_S: Final = 0.25
"""Time that a stop waits for the threads that wait for a server, which write nothing any more."""


def fetch(
    wanted: Sequence[RemoteBlob],
    blobs: BlobStore,
    *,
    on_event: EventSink,
    cancelled: threading.Event,
    limits: TransferLimits,
) -> list[Digest]:
    """Download what the store lacks of `wanted`, and return all their digests in order.

    `on_event` is called in this thread. What arrived stays for the next time when this fails.

    Raises:
        Cancelled: `cancelled` was set.
        RemoteError: refused, unreachable, or the bytes are others than promised.
        DiskFull, StoreError: the store cannot take them; a lack of room is told at the start.
    """
    unique = {one.name: one for one in wanted}
    works = [BlobDownload(one, blobs, limits) for one in unique.values()]
    _Download(works, blobs, on_event, cancelled, limits).run()
    found = {work.blob.name: work.digest for work in works}
    return [digest for one in wanted if (digest := found[one.name]) is not None]


class _Download:
    """The state of one `fetch`, and what is decided on it."""

    def __init__(
        self,
        works: Sequence[BlobDownload],
        blobs: BlobStore,
        on_event: EventSink,
        cancelled: threading.Event,
        limits: TransferLimits,
    ) -> None:
        self._works = works
        self._blobs = blobs
        self._on_event = on_event
        self._cancelled = cancelled
        self._reactor = Reactor()
        self._pace = pace.Pace(limits, time.monotonic())
        self._crew = Crew(
            reactor=self._reactor,
            network=Workers(self._reactor, "download", NETWORK_THREADS),
            writers=Workers(self._reactor, "write", DISK_THREADS),
            readers=Workers(self._reactor, "read", DISK_THREADS),
            blocks=Blocks(),
            pace=self._pace,
        )
        self._streams: set[Stream] = set()
        """The streams that have a connection, or wait for one."""
        self._alone: dict[BlobDownload, tuple[Stream, int]] = {}
        """The one stream that reads from a server without ranges, and the offset of its first byte.
        It begins when no other stream writes any more."""
        self._may_begin = True
        """Whether another stream may find something to read."""
        self._error: Exception | None = None
        self._is_stopped = False

    def run(self) -> None:
        try:
            self._show()
            if not self._is_over():
                self._require_room()
                self._transfer()
        finally:
            self._stop()
        if self._error is not None:
            raise self._error
        if not all(work.digest for work in self._works):
            raise Cancelled("the transfer was cancelled")
        self._show()

    def _transfer(self) -> None:
        now_s = saved_at_s = ticked_at_s = ramped_at_s = time.monotonic()
        ramped_bytes = self._arrived_bytes()
        while not self._is_over():
            if self._may_begin:
                self._begin_streams(now_s)
            lag_s = self._pace.lag_s(now_s)
            self._reactor.wait(saved_at_s + lag_s - now_s)
            now_s = time.monotonic()
            if now_s - saved_at_s < lag_s:
                continue
            saved_at_s = now_s
            for stream in list(self._streams):
                stream.flush_old(now_s - lag_s)
            for work in self._works:
                if work.hasher is not None:
                    work.hasher.look(now_s)
            self._save()
            if now_s - ticked_at_s < TICK_S:
                continue
            ticked_at_s = now_s
            self._judge(now_s)
            self._look_elsewhere()
            self._may_begin = True
            self._show()
            if now_s - ramped_at_s >= self._pace.ramp_s:
                arrived_bytes = self._arrived_bytes()
                rate = (arrived_bytes - ramped_bytes) / (now_s - ramped_at_s)
                self._pace.measured(rate, self._behind_bytes())
                ramped_at_s, ramped_bytes = now_s, arrived_bytes

    def _is_over(self) -> bool:
        if self._cancelled.is_set() or self._error is not None:
            return True
        return all(work.digest for work in self._works)

    def _require_room(self) -> None:
        folder = self._blobs.partial
        missing = 0
        for work in self._works:
            if work.digest is None:
                there = journal.allocated_bytes(folder, work.blob.name)
                missing += max(0, work.blob.size_bytes - there)
        require_room(folder, int(missing * ROOM_FACTOR), self._blobs.kept_free_bytes)

    def _show(self) -> None:
        for work in self._works:
            done = work.blob.size_bytes
            if work.digest is None:
                done = work.layout.completed_bytes if work.layout else work.resumed_bytes
                done = min(done, work.blob.size_bytes - 1)  # all: when it is verified
            if done > work.shown_bytes:
                work.shown_bytes = done
                self._on_event(
                    BlobProgress(
                        label=work.blob.label,
                        digest=work.blob.digest,
                        completed_bytes=done,
                        total_bytes=work.blob.size_bytes,
                    )
                )

    def _save(self) -> None:
        """Write the journals of the blobs that got further, in the writers' threads."""
        for work in self._works:
            if work.partial is None or work.layout is None or work.is_saving:
                continue
            completed_bytes = work.layout.completed_bytes
            if completed_bytes != work.saved_bytes:
                work.saved_bytes, work.is_saving = completed_bytes, True
                save = partial(work.partial.save, work.layout.done())
                self._crew.writers.submit(save, partial(self._was_saved, work), self._fail)

    def _was_saved(self, work: BlobDownload, _: None) -> None:
        work.is_saving = False

    def _arrived_bytes(self) -> int:
        return sum(
            work.layout.completed_bytes - work.resumed_bytes for work in self._works if work.layout
        )

    def _behind_bytes(self) -> int:
        return sum(work.hasher.behind_bytes for work in self._works if work.hasher)

    def _judge(self, now_s: float) -> None:
        """Give up the streams that have stalled, or are far slower than the others."""
        streams = {stream.segment: stream for stream in self._streams}
        for segment, stream in streams.items():
            segment.hold(now_s) if self._is_excused(stream) else segment.sample(now_s)
        for segment in self._pace.too_slow(list(streams), now_s):
            stream, is_silent = streams[segment], self._pace.is_silent(segment, now_s)
            self._give_up(stream)
            if is_silent:
                error = Unreachable(f"{stream.work.blob.host} sends nothing any more")
                self._retry_later(stream.work, stream.layout, error)

    def _is_excused(self, stream: Stream) -> bool:
        """Whether the stream waits for the hash, the disk, other streams, or the first response."""
        work, layout = stream.work, stream.layout
        is_first = stream.is_asking and layout.completed_bytes == work.resumed_bytes
        return stream.is_waiting or is_first or work in self._alone

    def _give_up(self, stream: Stream) -> None:
        """End a stream and leave the rest of its segment to others."""
        self._streams.discard(stream)
        stream.segment.give_up()
        stream.close()

    def _look_elsewhere(self) -> None:
        """Look at the blobs that other processes download, and take over those that they left."""
        for work in self._works:
            if not work.is_elsewhere or work.digest is not None:
                continue
            blob = work.blob
            if blob.digest is not None and self._blobs.has(blob.digest, blob.size_bytes):
                work.digest, work.is_elsewhere = blob.digest, False
            else:
                work.resumed_bytes = journal.completed_bytes(self._blobs.partial, blob.name)
                self._open(work)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error

    def _stop(self) -> None:
        """End all threads and keep what arrived."""
        self._is_stopped = True
        hashers = [work.hasher for work in self._works if work.hasher]
        for hasher in hashers:
            hasher.stop()
        for stream in list(self._streams):
            stream.close()
        crew = self._crew
        quick = [crew.writers, crew.readers, *(hasher.thread for hasher in hashers)]
        self._reactor.wait_for(lambda: not crew.network.pending, ASKING_STOP_S)
        self._reactor.wait_for(lambda: not any(workers.pending for workers in quick), STOP_S)
        deadline_s = time.monotonic() + ASKING_STOP_S
        for workers in (*quick, crew.network):
            workers.end()
        for workers in (*quick, crew.network):
            workers.join(deadline_s)
        self._reactor.close()
        for work in self._works:
            if work.partial and work.layout:
                try:
                    work.partial.save(work.layout.done())
                except StoreError as error:
                    self._fail(error)
                finally:
                    work.partial.close()

    # --- streams

    def _begin_streams(self, now_s: float) -> None:
        """Begin streams up to the wanted number, as long as there is something to read."""
        self._may_begin = False
        while len(self._streams) < self._pace.streams and (found := self._next(now_s)):
            self._begin_stream(*found)

    def _begin_stream(
        self, work: BlobDownload, segment: Segment, connection: HttpConnection | None = None
    ) -> None:
        stream = Stream(
            work,
            segment,
            self._crew,
            answered=self._answered,
            freed=self._freed,
            over=self._over,
        )
        self._streams.add(stream)
        stream.ask(connection)

    def _freed(self, stream: Stream, connection: HttpConnection) -> None:
        """Read the next segment on the same connection, while the last one is still written."""
        self._streams.discard(stream)
        is_wanted = not self._is_stopped and len(self._streams) < self._pace.streams
        found = self._next(time.monotonic()) if is_wanted else None
        if found is None or found[0] is not stream.work:
            connection.close()
        if found is not None:
            self._begin_stream(*found, connection if found[0] is stream.work else None)

    def _next(self, now_s: float) -> tuple[BlobDownload, Segment] | None:
        range_bytes = self._pace.range_bytes
        slowest: tuple[float, Segment, BlobDownload] | None = None
        opened = sum(work.is_open for work in self._works)
        for work in self._works:
            if work.digest is not None or work.is_elsewhere or now_s < work.retries.paused_until_s:
                continue
            if work.layout is None:
                if opened >= OPEN_BLOBS_LIMIT or not self._open(work):
                    continue
                opened += 1
            assert work.layout is not None
            if segment := work.layout.take(now_s, range_bytes):
                if work.layout.is_sequential and work.hasher:
                    work.hasher.forget()  # it may be written over
                return work, segment
            found = work.layout.slowest(now_s)
            if found and (slowest is None or found[0] > slowest[0]):
                slowest = (*found, work)
        if slowest is None:
            return None
        layout = slowest[2].layout
        stolen = layout.split(slowest[1], now_s) if layout else None
        return None if stolen is None else (slowest[2], stolen)

    def _open(self, work: BlobDownload) -> bool:
        """Begin or resume a blob; False while another process downloads it."""
        blob = work.blob
        unfinished = journal.claim(
            self._blobs.partial,
            blob.name,
            blob.size_bytes,
            kept_free_bytes=self._blobs.kept_free_bytes,
        )
        work.is_elsewhere = unfinished is None
        if unfinished is None:
            return False
        if blob.digest and self._blobs.has(blob.digest, blob.size_bytes):
            unfinished.remove()  # another process was faster
            work.digest = blob.digest
            return False
        try:
            unfinished.lay_out()
        except BaseException:
            unfinished.remove() if not unfinished.done.total_bytes else unfinished.close()
            raise
        layout = Layout(blob.size_bytes, unfinished.done)
        work.partial, work.layout = unfinished, layout
        work.resumed_bytes = work.retries.failed_at_bytes = layout.completed_bytes
        work.hasher = Hasher(
            blob,
            self._blobs,
            unfinished,
            layout,
            self._crew,
            stored=partial(self._stored, work, unfinished),
            failed=self._fail,
        )
        work.hasher.follow()
        return True

    def _stored(self, work: BlobDownload, unfinished: journal.Partial, digest: Digest) -> None:
        work.digest, work.partial = digest, None
        unfinished.remove()
        self._may_begin = True

    def _answered(self, stream: Stream, response: httpx.Response, first: int) -> None:
        ignores_range = not stream.is_whole and response.status_code != httpx.codes.PARTIAL_CONTENT
        if not ignores_range:
            stream.read(first)
            return
        layout = stream.layout
        if layout.is_sequential:
            self._give_up(stream)
            return
        layout.is_sequential = True
        for other in list(self._streams):
            if other is not stream and other.layout is layout:
                self._give_up(other)
        self._alone[stream.work] = (stream, first)
        self._read_alone(stream.work, layout)

    def _read_alone(self, work: BlobDownload, layout: Layout) -> None:
        """Read everything with one stream, once the others are over."""
        stream, first = self._alone[work]
        if layout.active == [stream.segment]:
            del self._alone[work]
            layout.restart_sequentially(stream.segment)
            stream.hasher.forget()
            stream.read(first)

    def _over(self, stream: Stream, error: Exception | None) -> None:
        work, layout, segment = stream.work, stream.layout, stream.segment
        self._streams.discard(stream)
        self._may_begin = True
        is_short = segment.position < segment.end  # else it was ended on purpose
        layout.finish(segment)
        self._pace.ended(segment, time.monotonic())
        if error is not None and is_short and not self._is_stopped:
            status = error.status if isinstance(error, RemoteError) else None
            if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and not stream.is_whole:
                layout.is_sequential = True
            else:
                self._retry_later(work, layout, error)
        if work in self._alone:
            if self._alone[work][0] is stream:
                del self._alone[work]
            else:
                self._read_alone(work, layout)

    def _retry_later(self, work: BlobDownload, layout: Layout, error: Exception) -> None:
        """Pause the blob after a failure, or fail for good."""
        if not isinstance(error, RemoteError):
            self._fail(error)
        elif (
            error.status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and not layout.is_sequential
        ):
            layout.is_sequential = True
        elif not error.is_temporary:
            self._fail(error)
        else:
            try:
                work.retries.failed(error, layout.completed_bytes, time.monotonic())
            except RemoteError:
                self._fail(error)
