"""The daemon's end of the frame protocol: many requests at once over one byte stream.

Knows frames and request ids; knows neither processes nor what the messages mean. Reading is
paced by the stream's own flow control, writing by `drain`; replies that nobody reads are bounded
per request.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager

from olmkit.engine.errors import EngineError, InvalidRequest
from olmkit.engine.framing import FRAME_HEADER, ProtocolViolation, encode_frame, payload_length
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


class Exchange:
    """One request: the replies that came and were not read yet."""

    def __init__(self, *, is_load: bool = False) -> None:
        self.is_load = is_load
        self._replies: deque[Reply] = deque()
        self._failure: Callable[[], EngineError | Cancelled] | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def unread(self) -> int:
        """Replies that wait to be read."""
        return len(self._replies)

    def put(self, reply: Reply) -> None:
        """A reply has come."""
        self._replies.append(reply)
        self._wake()

    def fail(self, failure: Callable[[], EngineError | Cancelled]) -> None:
        """No reply will come any more: whoever reads gets what `failure` makes."""
        self._failure = failure
        self._wake()

    async def next(self) -> Reply:
        """The next reply; replies that came before a failure are read before it."""
        while not self._replies:
            if self._failure is not None:
                raise self._failure()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._replies.popleft()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Multiplex:
    """Requests and their replies over one stream; `ended` resolves when the stream does."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        unread_limit: int,
    ) -> None:
        self._unread_limit = unread_limit
        self._reader = reader
        self._writer = writer
        self._open: dict[int, Exchange] = {}
        self._failure: Callable[[], EngineError | Cancelled] | None = None
        self._last_id = 0
        self._heard_s = 0.0
        self.ended: asyncio.Task[str | None] = asyncio.create_task(self._read())
        """The protocol violation that ended the stream; None after a plain EOF."""

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
        async with aclosing(self.stream(request)) as replies:
            async for reply in replies:
                return reply
        raise AssertionError("a stream ends with a reply or raises")

    async def stream(self, request: Request) -> AsyncGenerator[Reply, None]:
        """All replies of a request; ending early sends `Cancel`.

        Raises:
            InvalidRequest: the request cannot be sent: too long, or no text.
            EngineError: what `fail` was given, once the stream has ended.
        """
        with self._exchange(request.id, is_load=isinstance(request, Load)) as exchange:
            self._send(_encode(request))
            try:
                await self._writer.drain()
            except ConnectionError:
                pass  # the reader sees the end as well and says how it came
            while True:
                reply = await exchange.next()
                yield reply
                if _is_last(reply):
                    return

    def fail(self, failure: Callable[[], EngineError | Cancelled]) -> None:
        """End every open exchange, and every later one, with what `failure` makes."""
        self._failure = failure
        for exchange in self._open.values():
            exchange.fail(failure)
        self._open.clear()

    def close(self) -> None:
        """Close the stream; the peer sees EOF."""
        self._writer.close()

    @contextmanager
    def _exchange(self, request_id: int, *, is_load: bool) -> Iterator[Exchange]:
        if self._failure is not None:
            raise self._failure()
        if not self._open:
            self._heard_s = asyncio.get_running_loop().time()
        exchange = self._open[request_id] = Exchange(is_load=is_load)
        try:
            yield exchange
        finally:
            if self._open.pop(request_id, None) is not None:
                self._cancel(request_id)

    def _cancel(self, request_id: int) -> None:
        self._send(encode_frame(Cancel(id=request_id)))

    def _send(self, frame: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(frame)

    async def _read(self) -> str | None:
        try:
            while True:
                header = await self._reader.readexactly(FRAME_HEADER.size)
                payload = await self._reader.readexactly(payload_length(header))
                self._heard_s = asyncio.get_running_loop().time()
                for reply in decode_replies(payload):
                    self._deliver(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        except (ProtocolViolation, RecursionError) as error:
            return str(error)
        finally:
            self._writer.close()

    def _deliver(self, reply: Reply) -> None:
        exchange = self._open.get(reply.id)
        if exchange is None:
            return  # cancelled in the meantime
        exchange.put(reply)
        if _is_last(reply):
            del self._open[reply.id]
        elif exchange.unread > self._unread_limit:
            del self._open[reply.id]
            exchange.fail(lambda: Cancelled("the answer was not read for too long"))
            self._cancel(reply.id)


def _is_last(reply: Reply) -> bool:
    return not isinstance(reply, LoadProgress | PromptProgress | PromptRead | Piece)


def _encode(request: Request) -> bytes:
    try:
        return encode_frame(request)
    except (ProtocolViolation, ValueError, OverflowError) as error:
        raise InvalidRequest(f"the request cannot be handed to the runner: {error}") from error
