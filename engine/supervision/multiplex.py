"""The daemon's end of the frame protocol: many requests at once over one byte stream.

Knows frames and request ids; knows neither processes nor what the messages mean. Frames are taken
apart as they arrive, without a task of their own: one wakes nobody but the requests that it
answers. Replies that nobody reads are bounded per request.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from typing import Final

from olmkit.engine.errors import EngineError, InvalidRequest
from olmkit.engine.framing import FrameBuffer, ProtocolViolation, encode_frame
from olmkit.engine.runner.protocol import (
    Cancel,
    Load,
    LoadProgress,
    Piece,
    PromptProgress,
    PromptRead,
    Reply,
    Request,
    decode_replies,
)
from olmkit.registry.errors import Cancelled

_MORE_FOLLOW: Final = frozenset({LoadProgress, PromptProgress, PromptRead, Piece})
"""Replies that are not the last ones of their requests."""


class Exchange:
    """One request: the replies that came and were not read yet."""

    def __init__(self, *, is_load: bool = False) -> None:
        self.is_load = is_load
        self.unread: list[Reply] = []
        """Replies that wait to be read, the oldest first."""
        self._failure: Callable[[], EngineError | Cancelled] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def take(self) -> list[Reply]:
        """All replies that wait to be read."""
        taken, self.unread = self.unread, []
        return taken

    def fail(self, failure: Callable[[], EngineError | Cancelled]) -> None:
        """No reply will come any more: whoever reads gets what `failure` makes."""
        self._failure = failure
        self.wake()

    def arrival(self) -> "asyncio.Future[None]":
        """Resolves when a reply is there, or `fail` was called.

        Raises:
            EngineError, Cancelled: what `fail` was given.
        """
        if self._failure is not None:
            raise self._failure()
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def wake(self) -> None:
        """Resolves what `arrival` returned."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Multiplex(asyncio.Protocol):
    """Requests and their replies over one stream; `ended` resolves when the stream does."""

    def __init__(self, *, unread_limit: int) -> None:
        """Make it the protocol of a connected transport before anything else."""
        self._unread_limit = unread_limit
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._frames = FrameBuffer()
        self._open: dict[int, Exchange] = {}
        self._failure: Callable[[], EngineError | Cancelled] | None = None
        self._last_id = 0
        self._heard_s = 0.0
        self._room = asyncio.Event()
        """Set while the peer takes what is sent."""
        self._room.set()
        self.ended: asyncio.Future[str | None] = self._loop.create_future()
        """The protocol violation that ended the stream; None after a plain EOF."""

    # --- the transport's calls --------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The stream is there."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand the replies of all frames that have come whole to those who wait for them."""
        if self.ended.done():
            return
        self._heard_s = self._loop.time()
        try:
            for payload in self._frames.take(data):
                self._deliver(decode_replies(payload))
        except (ProtocolViolation, RecursionError) as error:
            self._end(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer has closed its end, or is gone."""
        self._end(None)

    def pause_writing(self) -> None:
        """The peer is behind: new requests wait."""
        self._room.clear()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._room.set()

    def _end(self, violation: str | None) -> None:
        self._room.set()
        if not self.ended.done():
            self.ended.set_result(violation)
        self.close()

    # --- requests ---------------------------------------------------------------------------

    def next_id(self) -> int:
        """An id for a new request."""
        self._last_id += 1
        return self._last_id

    @property
    def waiting_since_s(self) -> float | None:
        """When the peer was heard last, or asked after a rest; None: it owes no answer.

        A load does not count: it has a time of its own.
        """
        return self._heard_s if any(not one.is_load for one in self._open.values()) else None

    @property
    def is_loading(self) -> bool:
        """Whether the peer owes the answer to a load."""
        return any(one.is_load for one in self._open.values())

    async def call(self, request: Request) -> Reply:
        """The one reply of a request that has one."""
        async with aclosing(self.stream(request)) as batches:
            async for replies in batches:
                return replies[-1]
        raise AssertionError("a stream ends with a reply or raises")

    async def stream(
        self, request: Request, *, check: Callable[[Reply], Reply] = lambda reply: reply
    ) -> AsyncGenerator[list[Reply], None]:
        """All replies of a request, at a time those that have come; ending early sends `Cancel`.

        `check` gets the last one, and returns it or raises. Replies before it that came together
        with it are told all the same.

        Raises:
            InvalidRequest: the request cannot be sent: too long, or no text.
            EngineError: what `fail` was given, once the stream has ended.
        """
        with self._exchange(request.id, is_load=isinstance(request, Load)) as exchange:
            self._send(_encode(request))
            await self._room.wait()
            while True:
                while not exchange.unread:
                    await exchange.arrival()
                replies = exchange.take()
                if type(replies[-1]) not in _MORE_FOLLOW:
                    break
                yield replies
            if earlier := replies[:-1]:
                yield earlier
            yield [check(replies[-1])]

    def fail(self, failure: Callable[[], EngineError | Cancelled]) -> None:
        """End every open exchange, and every later one, with what `failure` makes."""
        self._failure = failure
        for exchange in self._open.values():
            exchange.fail(failure)
        self._open.clear()

    def close(self) -> None:
        """Close the stream; the peer sees EOF."""
        if self._transport is not None:
            self._transport.close()

    @contextmanager
    def _exchange(self, request_id: int, *, is_load: bool) -> Iterator[Exchange]:
        if self._failure is not None:
            raise self._failure()
        if not self._open:
            self._heard_s = self._loop.time()
        exchange = self._open[request_id] = Exchange(is_load=is_load)
        try:
            yield exchange
        finally:
            if self._open.pop(request_id, None) is not None:
                self._cancel(request_id)

    def _cancel(self, request_id: int) -> None:
        self._send(encode_frame(Cancel(id=request_id)))

    def _send(self, frame: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def _deliver(self, replies: Iterable[Reply]) -> None:
        for reply in replies:
            exchange = self._open.get(reply.id)
            if exchange is None:
                continue  # cancelled in the meantime
            if not exchange.unread:
                exchange.wake()
            exchange.unread.append(reply)
            if type(reply) not in _MORE_FOLLOW:
                del self._open[reply.id]
            elif len(exchange.unread) > self._unread_limit:
                del self._open[reply.id]
                exchange.fail(lambda: Cancelled("the answer was not read for too long"))
                self._cancel(reply.id)


def _encode(request: Request) -> bytes:
    try:
        return encode_frame(request)
    except (ProtocolViolation, ValueError, OverflowError) as error:
        raise InvalidRequest(f"the request cannot be handed to the runner: {error}") from error
