"""Answers: one JSON object, or a line of JSON for each thing that happens.

Every piece of work is raced against the client's disconnect here, streaming or not, so that a
client that goes away frees what its request held. A stream's first object is awaited before the
status is sent: what fails until then has a status of its own; what fails later is one more line.
A client that asks to be told what it waits for (`X-Olm-Progress`) gets that before the first
object, and with the first word of it the status.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final, TypeVar, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from olmkit.engine.api.jsontext import encode_json
from olmkit.engine.api.native.types import Progress
from olmkit.engine.api.statuses import KNOWN_ERRORS, Failure, classify
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.telemetry.requestprogress import (
    LatestProgress,
    RequestProgress,
    first_told,
    with_progress,
)
from olmkit.engine.telemetry.requestrecord import current_record
from olmkit.registry.errors import Cancelled
from olmkit.registry.events import BlobProgress, Event, Status

T = TypeVar("T")
log = logging.getLogger(__name__)

JSON: Final = "application/json; charset=utf-8"
NDJSON: Final = "application/x-ndjson"
BODY_SEND: Final = "olm.body_send"
"""Key in a request's scope: the server's own `send`, past what only looks at the beginning of a
reply. A streamed answer calls it for every token."""
FLUSH: Final = "olm.flush"
"""Key in a request's scope: sends what was written at once."""
_MEANINGS: Final = {"true": True, "1": True, "false": False, "0": False}
SUCCESS: Final = Progress(status="success")


def json_reply(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A reply of one JSON object."""
    return Response(encode_json(value), status, headers, media_type=JSON)


def error_reply(error: Exception) -> Response:
    """The reply that tells of an error, in the native form."""
    failure = classify(error)
    return Response(failure.body, failure.status, dict(failure.headers), media_type=JSON)


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """What a blocking function returns; when cancelled, only once it has returned.

    For calls that use what the caller will close.
    """
    running = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.gather(running, return_exceptions=True)
        raise


async def in_own_thread(function: Callable[..., T], *arguments: Any) -> T:
    """As `in_thread`, in a thread that nothing else waits for: for what a client can hold up."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(value: T | None, error: BaseException | None) -> None:
        if error is not None:
            done.set_exception(error)
            done.exception()  # whoever waits gets it; nobody may wait any more
        else:
            done.set_result(cast(T, value))

    def run() -> None:
        value, error = None, None
        try:
            value = function(*arguments)
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed: the daemon is gone
            loop.call_soon_threadsafe(finish, value, error)

    threading.Thread(target=run, name=function.__name__, daemon=True).start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.gather(done, return_exceptions=True)
        raise


async def until_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client goes away first.

    The request's body must have been read. The work is done by the task that asks for it, which
    another one watches: each task between a request and its answer is a turn of the event loop.

    Raises:
        Cancelled: the client went away.
    """
    task = asyncio.current_task()
    assert task is not None
    cancelled_before, has_left = task.cancelling(), False

    def leave(_: object) -> None:
        nonlocal has_left
        has_left = True
        task.cancel()

    watching = asyncio.create_task(disconnect(receive))
    watching.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if has_left and task.cancelling() == cancelled_before + 1:
            raise Cancelled("request canceled") from None
        raise  # the daemon ends
    finally:
        watching.remove_done_callback(leave)
        watching.cancel()
        if has_left:
            task.uncancel()


async def disconnect(receive: Receive) -> None:
    """Wait until the client has gone; the request's body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def reply_with(
    request: Request,
    events: AsyncGenerator[T, None],
    *,
    stream: bool,
    collect: Callable[[AsyncGenerator[T, None]], Awaitable[Any]],
    encode: Callable[[T], bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    waiting: Callable[[RequestProgress], Any] | None = None,
) -> Response:
    """What `events` yield, as lines, or as the one object that `collect` makes of them.

    `encode`, `waiting`: see `lines`.

    Raises:
        EngineError, RegistryError: before anything was sent.
    """
    if not stream:
        whole = await until_disconnect(request.receive, _collected(events, collect))
        return json_reply(whole, headers=headers)
    return await lines(request, events, headers, encode=encode, waiting=waiting)


async def _collected(
    events: AsyncGenerator[T, None],
    collect: Callable[[AsyncGenerator[T, None]], Awaitable[Any]],
) -> Any:
    try:
        return await collect(events)
    finally:
        await events.aclose()


async def reply_with_progress(
    request: Request,
    events: AsyncGenerator[Event, None],
    *,
    stream: bool | None,
    result: Callable[[], Any] = lambda: SUCCESS,
) -> Response:
    """A line an event and then the `result`, made when all is done; with `stream` False only that.

    Raises:
        EngineError, RegistryError: before anything was sent.
    """

    async def replies() -> AsyncGenerator[Any, None]:
        async with aclosing(events):
            async for event in events:
                yield line_of(event)
        yield result()

    return await reply_with(request, replies(), stream=stream is not False, collect=_last)


def line_of(event: Event) -> Progress:
    """The line that an event is in a reply."""
    match event:
        case Status(text=text):
            return Progress(status=text)
        case BlobProgress():
            return Progress(
                status=event.label,
                digest=str(event.digest or ""),
                total=event.total_bytes or 0,
                completed=event.completed_bytes,
            )


async def _last(replies: AsyncGenerator[T, None]) -> T:
    return [line async for line in replies][-1]


async def lines(
    request: Request,
    events: AsyncGenerator[T, None],
    headers: Mapping[str, str] | None = None,
    *,
    encode: Callable[[T], bytes] | None = None,
    waiting: Callable[[RequestProgress], Any] | None = None,
) -> Response:
    """A stream of what `events` yield, one JSON object a line; a failure is one more line.

    `encode`: makes lines of an event; None: each is one. `waiting`: the line for a client that
    waits for the first of them and asked how far it is; None where there is nothing to tell.

    Raises:
        EngineError, RegistryError: before the first object.
    """
    return await byte_stream(
        request,
        events,
        encode=encode or _line,
        media_type=NDJSON,
        on_failure=lambda failure: failure.body + b"\n",
        headers=headers,
        waiting=None if waiting is None else lambda progress: _line(waiting(progress)),
    )


def _line(event: Any) -> bytes:
    return encode_json(event) + b"\n"


async def byte_stream(
    request: Request,
    pieces: AsyncGenerator[T, None],
    *,
    encode: Callable[[T], bytes],
    media_type: str,
    on_failure: Callable[[Failure], bytes],
    headers: Mapping[str, str] | None = None,
    waiting: Callable[[RequestProgress], bytes] | None = None,
) -> Response:
    """A stream of `pieces`, each sent at once; `on_failure` makes the last one when they fail.

    `encode` gives no bytes for a piece of which there is nothing to tell.

    `waiting`: what a client gets that waits for the first of them and asked how far it is.

    Raises:
        EngineError, RegistryError: before the first piece, and before anything is told of the wait.
    """
    if waiting is not None and (progress := asked_progress()) is not None:
        return await byte_stream(
            request,
            with_progress(pieces, encode, progress, waiting),
            encode=bytes,
            media_type=media_type,
            on_failure=on_failure,
            headers=headers,
        )

    try:
        begun = await until_disconnect(request.receive, first_told(pieces, encode))
    except BaseException:
        await pieces.aclose()
        raise
    return _ByteStream(begun, pieces, encode, on_failure, headers, media_type)


def asked_progress() -> LatestProgress | None:
    """Where the present request's progress is found; None: its client did not ask for it.

    Raises:
        InvalidRequest: it asks in words that mean nothing.
    """
    record = current_record()
    if record is None or record.wants_progress is None:
        return None
    wants = _MEANINGS.get(record.wants_progress.strip().lower())
    if wants is None:
        raise InvalidRequest("X-Olm-Progress must be true or false", field="X-Olm-Progress")
    if wants and record.progress is None:
        record.progress = LatestProgress()
    return record.progress


class _ByteStream(Response):
    def __init__(
        self,
        first: bytes,
        rest: AsyncGenerator[Any, None],
        encode: Callable[[Any], bytes],
        on_failure: Callable[[Failure], bytes],
        headers: Mapping[str, str] | None,
        media_type: str,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.media_type = media_type
        self._first = first
        self._rest = rest
        self._encode = encode
        self._on_failure = on_failure
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all pieces, or stop the work when the client goes away."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            await send(start)
            with suppress(Cancelled):
                flush = scope.get(FLUSH, _nothing)
                await until_disconnect(receive, self._send_all(scope.get(BODY_SEND, send), flush))
        finally:
            await self._rest.aclose()

    async def _send_all(self, send: Send, flush: Callable[[], None]) -> None:
        try:
            if self._first:
                await send(_body(self._first))
                flush()
            async for piece in self._rest:
                if data := self._encode(piece):
                    await send(_body(data))
                    flush()
        except KNOWN_ERRORS as error:
            await send(_body(self._on_failure(classify(error, is_streaming=True))))
        except Exception as error:  # the stream must end with a word that says so
            log.exception("a streaming request failed")
            await send(_body(self._on_failure(classify(error, is_streaming=True))))
        await send({"type": "http.response.body"})


def _nothing() -> None:
    pass


def _body(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}
