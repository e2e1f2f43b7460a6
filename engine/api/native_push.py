"""POST /api/push.

Source: http-api reference, section 8.7; `format`, `all_quantizations` and `compress` are olm's own.
"""

import threading
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import reply_with_progress
from olmkit.engine.api.types import PushRequest
from olmkit.engine.errors import InvalidRequest
from olmkit.registry.errors import InvalidReference, ModelNotFound
from olmkit.registry.events import EventSink, Status
from olmkit.registry.reference import Reference

if TYPE_CHECKING:  # an HTTP client is imported by the first push
    from olmkit.registry.transfer import PushOptions

FORMATS = ("modelpack", "ollama", "docker")


async def push(request: Request) -> Response:
    """Send a model to the registry that its name says."""
    api, body = api_of(request), await decode_body(request, PushRequest)
    if not body.wanted:
        raise InvalidReference("no name was given", text="")
    if body.format not in (None, *FORMATS):
        raise InvalidRequest(f"format must be one of {', '.join(FORMATS)}", field="format")
    reference = Reference.parse(body.wanted)
    how = (bool(body.insecure), body.format, body.compress)

    def work(on_event: EventSink, cancelled: threading.Event) -> None:
        from olmkit.registry.transfer import PushOptions

        insecure, format_, compress = how
        options = PushOptions(insecure=insecure, format=format_, compress=compress)
        if body.all_quantizations:
            _push_quantizations(api, reference, on_event, cancelled, options)
        else:
            _push(api, reference, on_event, cancelled, options)

    key = f"push {reference.full} {how} {body.all_quantizations}"
    events = api.transfers.follow(work, key=key)
    return await reply_with_progress(request, events, stream=body.stream)


def _push(
    api: Api,
    reference: Reference,
    on_event: EventSink,
    cancelled: threading.Event,
    options: "PushOptions",
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
        options=options,
    )


def _push_quantizations(
    api: Api,
    reference: Reference,
    on_event: EventSink,
    cancelled: threading.Event,
    options: "PushOptions",
) -> None:
    from olmkit.registry.quantizations import push_quantizations

    settings = api.services.settings
    push_quantizations(
        reference,
        api.services.store,
        settings.remotes.connection(streams=settings.streams),
        on_event=on_event,
        cancelled=cancelled,
        options=options,
    )
