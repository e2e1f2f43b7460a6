"""Server-sent events: the frames, and a response that ends with one even when the work fails.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from olmkit.engine.api.statuses import Failure, classify
from olmkit.engine.api.streams import until_disconnect
from olmkit.engine.errors import RequestCancelled

EVENT_STREAM: Final = "text/event-stream"
DONE: Final = b"data: [DONE]\n\n"

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


def data_frame(value: Any) -> bytes:
    """A frame without a name."""
    return b"data: " + _encode(value) + b"\n\n"


def event_frame(name: str, value: Any) -> bytes:
    """A frame with a name."""
    return b"event: " + name.encode() + b"\ndata: " + _encode(value) + b"\n\n"


async def event_stream(
    request: Request,
    frames: AsyncGenerator[bytes, None],
    *,
    on_failure: Callable[[Failure], bytes],
) -> Response:
    """A stream of `frames`; `on_failure` makes the last ones when the work fails in its midst.

    Raises:
        EngineError, RegistryError: before the first frame.
    """
    try:
        first = await until_disconnect(request.receive, _first(frames))
    except BaseException:
        await frames.aclose()
        raise
    return _EventStream(first, frames, on_failure)


async def _first(frames: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(frames, b"")


class _EventStream(Response):
    media_type = EVENT_STREAM

    def __init__(
        self,
        first: bytes,
        rest: AsyncGenerator[bytes, None],
        on_failure: Callable[[Failure], bytes],
    ) -> None:
        self.status_code = 200
        self.background = None
        self._first = first
        self._rest = rest
        self._on_failure = on_failure
        self.init_headers({"cache-control": "no-cache"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all frames, or stop the work when the client goes away."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            await send(start)
            with suppress(RequestCancelled):
                await until_disconnect(receive, self._send_all(send))
        finally:
            await self._rest.aclose()

    async def _send_all(self, send: Send) -> None:
        async def write(data: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        try:
            await write(self._first)
            async for frame in self._rest:
                await write(frame)
        except RequestCancelled:
            raise
        except Exception as error:  # whatever it is, the client is told instead of cut off
            failure = classify(error, is_streaming=True)
            if failure.status >= 500:
                log.warning("a streaming request failed", exc_info=error)
            await write(self._on_failure(failure))
        await write(b"", more=False)
