"""Blobs out of the network into the store: parallel ranges, resumed, retried, verified.

Decides how many connections read which ranges, when one is too slow, and what is tried again. One
thread a connection writes (`intake`), two a blob hash (`arrival`). Knows no registry: a blob is
whatever `Wanted.open` streams. One process downloads a blob at a time; others wait for it.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Final

import httpx

from olmkit.registry import journal, web, wire
from olmkit.registry.arrival import Arrival, Hasher, Wanted
from olmkit.registry.blobs import BlobStore
from olmkit.registry.digest import Digest
from olmkit.registry.directio import Blocks
from olmkit.registry.errors import (
    RegistryError,
    RemoteError,
    TransferCancelled,
    disk_full,
    free_bytes_at,
)
from olmkit.registry.events import BlobProgress, EventSink
from olmkit.registry.intake import Intake
from olmkit.registry.pace import Pace, lag_s
from olmkit.registry.segments import Layout, Segment

OPEN_BLOBS_LIMIT: Final = 16
TICK_S: Final = 0.1
"""So often progress is told, and the connections are judged."""
ROOM_FACTOR: Final = 1.02
STOP_S: Final = 5.0
"""So long a stop waits for threads at the disk."""
ASKING_STOP_S: Final = 0.25
"""And so long for those that wait for an answer: they write nothing any more."""


def fetch(
    wanted: Sequence[Wanted],
    blobs: BlobStore,
    *,
    on_event: EventSink,
    cancelled: threading.Event,
    streams: int | None = None,
) -> list[Digest]:
    """Download what the store lacks of `wanted`, and return all their digests in order.

    `on_event` is called in this thread. What arrived stays for the next time when this fails.

    Raises:
        TransferCancelled: `cancelled` was set.
        RemoteError: refused, unreachable, or the bytes are others than promised.
        DiskFull, StoreError: the store cannot take them; a lack of room is told at the start.
    """
    unique = {one.name: one for one in wanted}
    works = [Arrival(one, blobs) for one in unique.values()]
    download = _Download(works, blobs, on_event, cancelled, streams)
    download.run()
    found = {work.wanted.name: work.digest for work in works}
    return [digest for one in wanted if (digest := found[one.name]) is not None]


class _Download:
    """The threads and the state of one `fetch`."""

    def __init__(
        self,
        works: Sequence[Arrival],
        blobs: BlobStore,
        on_event: EventSink,
        cancelled: threading.Event,
        streams: int | None,
    ) -> None:
        self._works = works
        self._blobs = blobs
        self._on_event = on_event
        self._cancelled = cancelled
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._pace = Pace(streams)
        self._threads: list[threading.Thread] = []
        self._followers: list[threading.Thread] = []
        self._readers = 0
        self._responses: dict[Segment, httpx.Response] = {}
        self._error: RegistryError | None = None
        self._is_stopped = False
        blocks = Blocks()
        self._hasher = Hasher(
            blobs, blocks, self._pace, lock, self._changed, lambda: self._is_stopped
        )
        self._intake = Intake(blocks, self._hasher, self._pace, lock, lambda: self._is_stopped)

    # --- the thread that called

    def run(self) -> None:
        self._show()
        if all(work.digest for work in self._works):
            return
        self._require_room()
        begun_at_s = saved_at_s = ticked_at_s = ramped_at_s = time.monotonic()
        ramped_bytes = self._arrived_bytes()
        try:
            while not self._is_over():
                self._staff()
                lag = lag_s(saved_at_s - begun_at_s)
                with self._changed:
                    self._changed.wait(lag)
                now_s = time.monotonic()
                if now_s - saved_at_s >= lag:
                    self._save()
                    saved_at_s = now_s
                if now_s - ticked_at_s < TICK_S:
                    continue
                ticked_at_s = now_s
                with self._changed:
                    self._replace_slow(now_s)
                    self._look_elsewhere()
                self._show()
                if now_s - ramped_at_s >= self._pace.ramp_s:
                    arrived_bytes = self._arrived_bytes()
                    self._ramp((arrived_bytes - ramped_bytes) / (now_s - ramped_at_s))
                    ramped_at_s, ramped_bytes = now_s, arrived_bytes
        finally:
            self._stop()
        if self._error is not None:
            raise self._error
        if self._cancelled.is_set() and not all(work.digest for work in self._works):
            raise TransferCancelled("the transfer was cancelled")
        self._show()

    def _is_over(self) -> bool:
        if self._cancelled.is_set() or self._error is not None:
            return True
        return all(work.digest for work in self._works)

    def _require_room(self) -> None:
        folder = self._blobs.partial
        missing = 0
        for work in self._works:
            if work.digest is None:
                there = journal.allocated_bytes(folder, work.wanted.name)
                missing += max(0, work.wanted.size_bytes - there)
        needed = int(missing * ROOM_FACTOR)
        free = free_bytes_at(folder)
        if free is not None and needed > free:
            raise disk_full(folder, needed_bytes=needed)

    def _staff(self) -> None:
        """As many readers as are wanted now."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        with self._changed:
            missing = self._pace.streams - self._readers
            self._readers += max(0, missing)
        for _ in range(missing):
            self._threads.append(self._start(self._read))

    def _start(self, function: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(
            target=self._guarded, args=(function, *arguments), name="download", daemon=True
        )
        thread.start()
        return thread

    def _guarded(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            function(*arguments)
        except RegistryError as error:
            self._fail(error)
        except BaseException as error:
            self._fail(RegistryError(f"the download failed: {type(error).__name__}: {error}"))
            if not self._is_stopped:  # else what it used may be closed
                raise

    def _fail(self, error: RegistryError) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def _show(self) -> None:
        for work in self._works:
            with self._changed:
                done = work.wanted.size_bytes
                if work.digest is None:
                    done = work.layout.completed_bytes if work.layout else work.resumed_bytes
                    done = min(done, work.wanted.size_bytes - 1)  # all: when it is verified
            if done > work.shown_bytes:
                work.shown_bytes = done
                self._on_event(
                    BlobProgress(
                        label=work.wanted.label,
                        digest=work.wanted.digest,
                        completed_bytes=done,
                        total_bytes=work.wanted.size_bytes,
                    )
                )

    def _save(self) -> None:
        """Write the journals of the blobs that got on; nobody waits for the disk meanwhile."""
        found = []
        with self._changed:
            for work in self._works:
                if work.partial is None or work.layout is None or work.digest is not None:
                    continue
                completed_bytes = work.layout.completed_bytes
                if completed_bytes != work.saved_bytes:
                    found.append((work.partial, work.layout.done()))
                    work.saved_bytes = completed_bytes
        for partial, done in found:
            partial.save(done)

    def _arrived_bytes(self) -> int:
        with self._changed:
            return sum(
                work.layout.completed_bytes - work.resumed_bytes
                for work in self._works
                if work.layout
            )

    def _ramp(self, rate: float) -> None:
        with self._changed:
            backlog = sum(
                work.ready_bytes - work.hashed_bytes for work in self._works if work.is_open
            )
            self._pace.measured(rate, backlog)

    def _replace_slow(self, now_s: float) -> None:
        """Give up connections that stalled, or are far slower than the others."""
        segments = []
        for work in self._works:
            for segment in work.layout.active if work.layout else ():
                segment.hold(now_s) if work.is_ahead else segment.sample(now_s)
                segments.append(segment)
        for segment in self._pace.too_slow(segments, now_s):
            if not segment.is_given_up:
                segment.give_up()
                self._readers -= 1  # its thread may hang for long: another one takes over
                if response := self._responses.get(segment):
                    wire.abort(response)

    def _look_elsewhere(self) -> None:
        """What other processes download: done, in progress, or left for us."""
        for work in self._works:
            if not work.is_elsewhere or work.digest is not None:
                continue
            wanted = work.wanted
            if wanted.digest is not None and self._blobs.has(wanted.digest, wanted.size_bytes):
                work.digest, work.is_elsewhere = wanted.digest, False
            else:
                work.resumed_bytes = journal.completed_bytes(self._blobs.partial, wanted.name)
                self._open(work)

    def _stop(self) -> None:
        """End all threads and keep what arrived."""
        with self._changed:
            self._is_stopped = True
            for response in self._responses.values():
                wire.abort(response)
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._responses, STOP_S)
        _join(self._followers, STOP_S)
        _join(self._threads, ASKING_STOP_S)
        try:
            self._save()
        finally:
            with self._changed:
                for work in self._works:
                    if work.partial and work.digest is None:
                        work.partial.close()
                        work.partial = None

    # --- readers

    def _read(self) -> None:
        """Read one segment after the other."""
        while True:
            with self._changed:
                while (found := self._next()) is None:
                    if self._is_stopped or self._readers > self._pace.streams:
                        self._readers -= 1
                        return
                    self._changed.wait(TICK_S)
            work, segment = found
            self._receive(work, segment)
            with self._changed:
                if segment.is_given_up:
                    return  # replaced: it is no longer counted

    def _next(self) -> tuple[Arrival, Segment] | None:
        if self._is_stopped or self._readers > self._pace.streams:
            return None
        now_s = time.monotonic()
        chunk_bytes = self._pace.chunk_bytes
        slowest: tuple[float, Segment, Arrival] | None = None
        opened = sum(work.is_open for work in self._works)
        for work in self._works:
            if work.digest is not None or work.is_elsewhere or now_s < work.retries.paused_until_s:
                continue
            if work.layout is None:
                if opened >= OPEN_BLOBS_LIMIT or not self._open(work):
                    continue
                opened += 1
            assert work.layout is not None
            if segment := work.layout.take(now_s, chunk_bytes):
                if work.layout.is_sequential:
                    self._hasher.forget(work)  # it may be written over
                return work, segment
            found = work.layout.slowest(now_s)
            if found and (slowest is None or found[0] > slowest[0]):
                slowest = (*found, work)
        if slowest is None:
            return None
        layout = slowest[2].layout
        stolen = layout.split(slowest[1], now_s) if layout else None
        return None if stolen is None else (slowest[2], stolen)

    def _open(self, work: Arrival) -> bool:
        """Begin or go on with a blob; False while another process has it."""
        wanted = work.wanted
        partial = journal.claim(self._blobs.partial, wanted.name, wanted.size_bytes)
        work.is_elsewhere = partial is None
        if partial is None:
            return False
        if wanted.digest and self._blobs.has(wanted.digest, wanted.size_bytes):
            partial.remove()  # another process was faster
            work.digest = wanted.digest
            return False
        try:
            partial.allocate()
        except BaseException:
            partial.remove() if not partial.done.total_bytes else partial.close()
            raise
        work.partial = partial
        work.layout = Layout(wanted.size_bytes, partial.done)
        work.resumed_bytes = work.retries.failed_at_bytes = work.layout.completed_bytes
        work.found_bytes = work.layout.prefix_end()
        self._followers.append(self._start(self._hasher.follow, work, partial, work.layout))
        return True

    def _receive(self, work: Arrival, segment: Segment) -> None:
        assert work.layout is not None
        try:
            with ExitStack() as stack:
                self._stream(work, work.layout, segment, stack)
        except RemoteError as error:
            self._retry_later(work, work.layout, segment, error)
        finally:
            with self._changed:
                self._responses.pop(segment, None)
                work.layout.finish(segment)
                self._pace.ended(segment, time.monotonic())
                self._changed.notify_all()

    def _stream(self, work: Arrival, layout: Layout, segment: Segment, stack: ExitStack) -> None:
        """Write what a connection brings for a segment."""
        size = work.wanted.size_bytes
        with self._changed:
            is_sequential = layout.is_sequential
            start, end = (0, size) if is_sequential else (segment.start, segment.end)
        is_whole = start == 0 and end == size
        asked_at_s = time.monotonic()
        response = stack.enter_context(work.wanted.open(start, None if is_whole else end))
        first = web.starts_at(response, start, size)
        with self._changed:
            if self._is_stopped or segment.is_given_up:
                return
            self._responses[segment] = response
            self._pace.answered(time.monotonic() - asked_at_s)
        ignores_range = not is_whole and response.status_code != httpx.codes.PARTIAL_CONTENT
        if ignores_range and not self._become_sequential(work, layout, segment):
            return
        self._intake.write(work, segment, response, first)

    def _become_sequential(self, work: Arrival, layout: Layout, segment: Segment) -> bool:
        """The server ignores ranges: one connection reads everything; whether it is this one."""
        with self._changed:
            if layout.is_sequential:
                segment.end = segment.claimed
                return False
            layout.is_sequential = True
            for other in layout.active:
                if other is not segment:
                    other.end = other.claimed
                    if response := self._responses.get(other):
                        wire.abort(response)
            while layout.active != [segment]:
                if self._is_stopped or segment.is_given_up:
                    return False
                self._changed.wait(TICK_S)
            layout.restart_sequentially(segment)
            self._hasher.forget(work)
            return True

    def _retry_later(
        self, work: Arrival, layout: Layout, segment: Segment, error: RemoteError
    ) -> None:
        """Pause the blob after a failure, or fail for good."""
        with self._changed:
            now_s = time.monotonic()
            if self._is_stopped or segment.position >= segment.end:
                return  # ended on purpose, or replaced meanwhile
            if error.status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                layout.is_sequential = True
            elif not error.is_temporary:
                raise error
            work.retries.failed(error, layout.completed_bytes, now_s)


def _join(threads: Sequence[threading.Thread], limit_s: float) -> None:
    deadline_s = time.monotonic() + limit_s
    for thread in threads:
        thread.join(max(0.0, deadline_s - time.monotonic()))
