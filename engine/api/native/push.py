"""POST /api/push.

Source: https://github.com/ollama/ollama/blob/v0.17.4/docs/api.md#push-a-model
`format`, `all_quantizations` and `compress` are olm's own.
"""

import threading

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.access.caller import require_access
from olmkit.engine.api.checks import require_model
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.native.pullcreate import without_scheme
from olmkit.engine.api.native.types import PushRequest
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import reply_with_progress
from olmkit.engine.errors import InvalidRequest
from olmkit.registry.errors import ModelNotFound
from olmkit.registry.events import EventSink, Status
from olmkit.registry.oci.reference import Reference

FORMATS = ("modelpack", "ollama", "docker")


async def push(request: Request) -> Response:
    """Send a model to the registry that its name says."""
    api, body = api_of(request), await decode_body(request, PushRequest)
    require_model(body.wanted)
    if body.format not in (None, *FORMATS):
        raise InvalidRequest(f"format must be one of {', '.join(FORMATS)}", field="format")
    reference = Reference.parse(without_scheme(body.wanted, insecure=body.insecure is True))
    require_access(reference)
    how = (bool(body.insecure), body.format, body.compress, body.all_quantizations)

    def work(on_event: EventSink, cancelled: threading.Event) -> None:
        _push(api, reference, body, on_event, cancelled)

    events = api.transfers.follow(
        work, key=f"push {reference.full} {how}", action="push", model=reference.short
    )
    return await reply_with_progress(request, events, stream=body.stream)


def _push(
    api: Api,
    reference: Reference,
    body: PushRequest,
    on_event: EventSink,
    cancelled: threading.Event,
) -> None:
    # They bring an HTTP client, which is imported by the first push.
    from olmkit.registry.push.quantizations import push_quantizations
    from olmkit.registry.push.transfer import PushOptions, push_model

    settings, store = api.services.settings, api.services.store
    access = settings.remotes.access(streams=settings.transfer_streams, cancelled=cancelled)
    options = PushOptions(insecure=bool(body.insecure), format=body.format, compress=body.compress)
    if body.all_quantizations:
        push_quantizations(
            reference, store, access, on_event=on_event, cancelled=cancelled, options=options
        )
        return
    on_event(Status(text="retrieving manifest"))
    try:
        model = store.load(reference)
    except ModelNotFound:
        on_event(Status(text="couldn't retrieve manifest"))
        raise
    push_model(model, store, access, on_event=on_event, cancelled=cancelled, options=options)
