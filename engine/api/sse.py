"""Server-sent events: their frames, and the response that carries them.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.jsontext import encode_json
from olmkit.engine.api.statuses import Failure
from olmkit.engine.api.streams import byte_stream

EVENT_STREAM: Final = "text/event-stream"
DONE: Final = b"data: [DONE]\n\n"
"""The last frame of OpenAI's streams."""


def data_frame(value: Any) -> bytes:
    """A frame without a name."""
    return b"data: " + encode_json(value) + b"\n\n"


def event_frame(name: str, value: Any) -> bytes:
    """A frame with a name."""
    return b"event: " + name.encode() + b"\ndata: " + encode_json(value) + b"\n\n"


def comment_frame(value: Any) -> bytes:
    """A frame that says something to who looks for it; clients pass over it."""
    return b": " + encode_json(value) + b"\n\n"


async def event_stream(
    request: Request,
    frames: AsyncGenerator[bytes, None],
    *,
    on_failure: Callable[[Failure], bytes],
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A stream of `frames`; `on_failure` makes the last one when the work fails in its midst.

    A client that asked what it waits for finds it in comments before the first frame.

    Raises:
        EngineError, RegistryError: before the first frame.
    """
    return await byte_stream(
        request,
        frames,
        encode=bytes,
        media_type=EVENT_STREAM,
        on_failure=on_failure,
        headers={"Cache-Control": "no-cache", **(headers or {})},
        waiting=lambda progress: comment_frame({"progress": progress}),
    )
