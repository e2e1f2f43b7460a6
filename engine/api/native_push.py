"""POST /api/push.

Source: http-api reference, section 8.7; `format` is olm's own.
"""

import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.native_transfer import SUCCESS, line_of
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import reply_with
from olmkit.engine.api.types import Progress, PushRequest
from olmkit.engine.errors import InvalidRequest
from olmkit.registry.errors import InvalidReference, ModelNotFound
from olmkit.registry.events import Event, EventSink, Status
from olmkit.registry.reference import Reference

FORMATS = ("modelpack", "ollama", "docker")


async def push(request: Request) -> Response:
    """Send a model to the registry that its name says."""
    api, body = api_of(request), await decode_body(request, PushRequest)
    if not body.wanted:
        raise InvalidReference("no name was given", text="")
    if body.format not in (None, *FORMATS):
        raise InvalidRequest(f"format must be one of {', '.join(FORMATS)}", field="format")
    reference = Reference.parse(body.wanted)
    insecure, format_ = bool(body.insecure), body.format

    def work(on_event: EventSink, cancelled: threading.Event) -> None:
        _push(api, reference, on_event, cancelled, insecure=insecure, format_=format_)

    events = api.transfers.follow(work, key=f"push {reference.full} {insecure} {format_}")
    return await reply_with(
        request, _progress(events), stream=body.stream is not False, collect=_collect
    )


def _push(
    api: Api,
    reference: Reference,
    on_event: EventSink,
    cancelled: threading.Event,
    *,
    insecure: bool,
    format_: str | None,
) -> None:
    from olmkit.registry import transfer

    settings, store = api.services.settings, api.services.store
    on_event(Status(text="retrieving manifest"))
    try:
        model = store.load(reference)
    except ModelNotFound:
        on_event(Status(text="couldn't retrieve manifest"))
        raise
    transfer.push_model(
        model,
        store,
        settings.remotes.connection(streams=settings.streams),
        on_event=on_event,
        cancelled=cancelled,
        options=transfer.PushOptions(insecure=insecure, format=format_),
    )


async def _progress(events: AsyncGenerator[Event, None]) -> AsyncGenerator[Progress, None]:
    async with aclosing(events):
        async for event in events:
            yield line_of(event)
    yield SUCCESS


async def _collect(lines: AsyncGenerator[Progress, None]) -> Progress:
    return [line async for line in lines][-1]
