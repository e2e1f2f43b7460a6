"""One connection that reads one range of a blob, and writes the bytes where they belong.

Bytes are gathered in a block of memory, which is written when it is full or has waited long enough.
The hash reads the same block while it is written, as long as there is memory for it.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

import httpx

from olmkit.registry.download.blobdownload import BlobDownload, Crew
from olmkit.registry.download.segments import Segment
from olmkit.registry.errors import RemoteError, Unreachable, store_errors
from olmkit.registry.http import web, wire
from olmkit.registry.store.directio import ALIGNMENT_BYTES

TURN_READS: Final = 32
"""Number of reads of one stream before others get their turn; TLS gives 16 KiB at a time."""


class HttpConnection:
    """An HTTP connection with a response on it, which may serve another request for the file."""

    def __init__(self, answer: ExitStack, response: httpx.Response) -> None:
        self._answer = answer
        self.response = response
        self.body = wire.body_of(response)
        self.fd = self.body.unblock()
        """Descriptor to wait for bytes; None where only a thread can wait for them."""

    def close(self) -> None:
        """Give the connection back to its pool, or end it."""
        self._answer.close()


class Stream:
    """The bytes of one segment, from the request for them to the disk.

    `answered` is called with the response, and decides whether it is read: it calls `read` or
    `close`. `freed` is called with the connection when the stream needs it no longer. `over` is
    called once, at the very end, with the error if there was one.
    """

    def __init__(
        self,
        work: BlobDownload,
        segment: Segment,
        crew: Crew,
        *,
        answered: "Callable[[Stream, httpx.Response, int], None]",
        freed: "Callable[[Stream, HttpConnection], None]",
        over: "Callable[[Stream, Exception | None], None]",
    ) -> None:
        assert work.partial is not None and work.layout is not None and work.hasher is not None
        self.work = work
        self.layout = work.layout
        self.hasher = work.hasher
        self.segment = segment
        self.is_asking = True
        self.is_whole = False
        """Whether the request is for the whole blob."""
        self._partial = work.partial
        self._size_bytes = work.blob.size_bytes
        self._host = work.blob.host
        self._crew = crew
        self._answered = answered
        self._freed = freed
        self._over = over
        self._is_closed = False
        self._error: Exception | None = None
        self._connection: HttpConnection | None = None
        self._asked_at_s = 0.0
        self._is_watched = self._is_reading = self._is_writing = self._is_held = False
        self._block: memoryview | None = None
        self._filled = self._skip_bytes = 0
        self._waits_since_s = 0.0
        """Time of the oldest byte in the block."""

    @property
    def is_waiting(self) -> bool:
        """Whether the stream reads nothing because it waits for the hash or the disk."""
        return self._is_held or (self._is_writing and not self._is_watched)

    # --- the request

    def ask(self, connection: HttpConnection | None = None) -> None:
        """Request the segment, or the whole blob from a server that knows no ranges.

        `connection` is used again if that is possible, and else closed.
        """
        size_bytes, segment = self._size_bytes, self.segment
        self.is_whole = self.layout.is_sequential or (segment.start, segment.end) == (0, size_bytes)
        self._asked_at_s = time.monotonic()
        if connection is not None:
            header = web.range_header(segment.start, segment.end)
            if not self.is_whole and connection.body.ask_again(header):
                self._connection = connection
                self._watch(True)
                return
            connection.close()
        self._ask_anew()

    def _ask_anew(self) -> None:
        start, end = (0, None) if self.is_whole else (self.segment.start, self.segment.end)
        ask = partial(self._open, start, end)
        self._crew.network.submit(ask, self._was_opened, self.close)

    def _open(self, start: int, end: int | None) -> tuple[ExitStack, httpx.Response, int]:
        with ExitStack() as stack:
            response = stack.enter_context(self.work.blob.open(start, end))
            first = web.starts_at(response, start, self._size_bytes)
            return stack.pop_all(), response, first

    def _was_opened(self, found: tuple[ExitStack, httpx.Response, int]) -> None:
        answer, response, first = found
        if self._is_closed:
            answer.close()
            return
        self._connection = HttpConnection(answer, response)
        self._host = web.host_of(response.url)
        self._was_answered(response, first)

    def _listen(self, connection: HttpConnection) -> None:
        """Look for the response on a connection that is used again.

        At anything unusual the request is made anew, on a connection of its own.
        """
        try:
            if (response := connection.body.answer()) is None:
                return
            first = web.starts_at(response, self.segment.start, self._size_bytes)
        except (httpx.TransportError, RemoteError):
            self._watch(False)
            self._connection = None
            connection.close()
            self._ask_anew()
            return
        self._was_answered(response, first)

    def _was_answered(self, response: httpx.Response, first: int) -> None:
        self.is_asking = False
        self._crew.pace.answered(time.monotonic() - self._asked_at_s)
        self._answered(self, response, first)

    # --- its answer

    def read(self, offset: int) -> None:
        """Read the response, whose first byte belongs at `offset`."""
        self._skip_bytes = self.segment.claimed - offset
        self._resume()

    def _resume(self) -> None:
        """Read what has arrived, at most `TURN_READS` times."""
        for _ in range(TURN_READS):
            connection = self._connection
            if connection is None or self._is_closed or self._is_reading:
                return
            if self.is_asking:
                self._listen(connection)
                return
            room = self._room()
            if not room:
                self._flush()
            if not room or self._has_to_wait():
                self._watch(False)
                return
            if connection.fd is None:
                self._is_reading = True
                fill = partial(self._fill, connection.body, room)
                self._crew.network.submit(fill, self._was_filled, self._could_not_fill)
                return
            try:
                with web.remote_errors(self._host):
                    count = connection.body.readinto(room)
            except RemoteError as error:
                self.close(error)
                return
            if count is None:
                self._watch(True)
                return
            self._received(count)
            if count == len(room):
                break
        self._crew.reactor.post(self._resume)  # the others have their turn

    def _room(self) -> memoryview:
        """The memory for the next bytes; empty when none fit, or none are needed."""
        if self._block is None:
            self._block = self._crew.blocks.take()
        if self._skip_bytes:
            return self._block[: self._skip_bytes]
        wanted = self.segment.end - self.segment.claimed
        return self._block[self._filled : max(self._filled, wanted)]

    def _has_to_wait(self) -> bool:
        offset = self.segment.claimed
        if not self._is_held and not self.hasher.has_room(offset):
            self._is_held = True
            self.hasher.when_room(offset, self._go_on)
        return self._is_held

    def _go_on(self) -> None:
        self._is_held = False
        self._resume()

    def _watch(self, is_wanted: bool) -> None:
        if self._connection is None or self._connection.fd is None or is_wanted == self._is_watched:
            return
        self._is_watched = is_wanted
        if is_wanted:
            self._crew.reactor.watch(self._connection.fd, self._resume)
        else:
            self._crew.reactor.unwatch(self._connection.fd)

    def _fill(self, body: wire.Body | wire.Copied, room: memoryview) -> int:
        """Read for as long as bytes may wait; what came before an error counts."""
        until_s = time.monotonic() + self._crew.pace.lag_s(time.monotonic())
        filled = 0
        while filled < len(room) and (not filled or time.monotonic() < until_s):
            try:
                with web.remote_errors(self._host):
                    count = body.readinto(room[filled:])
            except RemoteError:
                if not filled:
                    raise
                break
            if not count:
                break
            filled += count
        return filled

    def _was_filled(self, count: int) -> None:
        self._is_reading = False
        if not self._is_closed:
            self._received(count)
            self._flush()
            self._resume()
            return
        if not self._skip_bytes:
            self._filled += count
        self._end()

    def _could_not_fill(self, error: Exception) -> None:
        self._is_reading = False
        self._end() if self._is_closed else self.close(error)

    def _received(self, count: int) -> None:
        if not count:
            self.close(Unreachable(f"{self._host} ended the answer early"))
        elif self._skip_bytes:
            self._skip_bytes -= count
            self.segment.skipped_bytes += count
        else:
            if not self._filled:
                self._waits_since_s = time.monotonic()
            self._filled += count
            if not self._room():
                self._flush()

    # --- the disk

    def flush_old(self, until_s: float) -> None:
        """Write the block if its oldest byte came before `until_s`."""
        is_old = self._waits_since_s <= until_s
        if self._filled and is_old and not self._is_reading:
            self._flush()

    def _flush(self) -> None:
        """Write the block up to the last aligned byte, unless another write is under way."""
        if self._is_writing or self._block is None:
            return
        segment, at = self.segment, self.segment.claimed
        is_last = at + self._filled >= self._size_bytes
        whole = self._filled if is_last else self._filled - self._filled % ALIGNMENT_BYTES
        if count := segment.claim(whole):
            block, rest = self._block, self._block[count : self._filled]
            self._block, self._filled, self._is_writing = None, len(rest), True
            if rest:
                self._block = self._crew.blocks.take()
                self._block[: len(rest)] = rest
            self.hasher.take(at, block, count)
            self._crew.writers.submit(
                partial(self._write, block[:count], at),
                partial(self._was_written, block),
                self._could_not_write,
            )
        if segment.claimed >= segment.end:
            self.close()

    def _write(self, view: memoryview, at: int) -> int:
        with self._partial.hold(), store_errors(self._partial.path.parent, "write to"):
            self._partial.file.write(view, at, is_cached=self._crew.pace.is_slow)
        return len(view)

    def _was_written(self, block: memoryview, count: int) -> None:
        self._is_writing = False
        self.segment.position += count
        self._crew.blocks.give_back(block)
        self.hasher.was_written()
        if self._is_closed:
            self._end()
        elif not self._is_watched:
            self._resume()

    def _could_not_write(self, error: Exception) -> None:
        self._is_writing = False
        self._is_closed, self._error = True, error
        self._filled = 0  # nothing may be written behind what is missing
        self._end()

    # --- its end

    def close(self, error: Exception | None = None) -> None:
        """Stop reading; bytes that arrived are written as far as the segment still reaches."""
        if not self._is_closed:
            self._is_closed, self._error = True, error
            self._end()

    def _end(self) -> None:
        """Let go of the connection, and call `over` when no read or write is under way."""
        self._watch(False)
        if self._is_reading and self._connection is not None:
            wire.abort(self._connection.response)  # which makes its thread return
            return
        connection, self._connection = self._connection, None
        if connection is not None:
            is_free = self._error is None and connection.body.is_read
            self._freed(self, connection) if is_free else connection.close()
        self._flush()
        if not self._is_writing:
            if self._block is not None:
                self._crew.blocks.give_back(self._block)
                self._block = None
            self._over(self, self._error)
