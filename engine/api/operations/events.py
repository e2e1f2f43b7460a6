"""GET /api/events: olm's own, what happens in the daemon, a line an event."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.jsontext import encode_json
from olmkit.engine.api.native.status import may_see
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import NDJSON, byte_stream
from olmkit.engine.durations import parse_moment
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.telemetry.eventlog import DaemonEvent
from olmkit.registry.errors import RegistryError

FILTERS: Final = ("type", "action", "model")
SHARED: Final = {("model", action) for action in ("load", "unload", "evict", "die", "restart")}
"""What happens to a loaded model, and so to all models of its weights."""
NAMING: Final = ("gives_way_to", "source")
"""Members that name another model."""
_MOST_FILTERS: Final = 64


async def events(request: Request) -> Response:
    """Events as they happen, one JSON object a line; the stream begins with an empty line.

    `?since=` (RFC 3339, seconds of the epoch, or a duration such as `10m`) brings those before
    that are still kept; `?follow=false` ends after them. `?type=`, `?action=` and `?model=` choose
    some: several of one name are alternatives. Who reads so slowly that events are lost gets one
    of type `events`, action `missed`.
    """
    query = request.query_params
    wanted = {name: query.getlist(name) for name in FILTERS if query.getlist(name)}
    if sum(map(len, wanted.values())) > _MOST_FILTERS:
        raise InvalidRequest(f"at most {_MOST_FILTERS} filters", field="type")
    api = api_of(request)
    log = api.services.events
    place = log.place(_moment(query.get("since", "")))
    return await byte_stream(
        request,
        _lines(api, log.read(place, follows=query.get("follow") != "false"), wanted),
        encode=bytes,
        media_type=NDJSON,
        on_failure=lambda failure: failure.body + b"\n",
    )


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return parse_moment(text, now_s=time.time())
    except ValueError as error:
        raise InvalidRequest(
            f"since {error}", field="since", hint="such as 2026-11-28T18:00:00Z, 1795888800 or 10m"
        ) from error


async def _lines(
    api: Api, events: AsyncGenerator[DaemonEvent, None], wanted: Mapping[str, list[str]]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        yield b"\n"  # now the client knows that it will hear of whatever happens from here on
        async for event in events:
            seen = await _as_seen(api, event)
            if seen is not None and _is_wanted(seen, wanted):
                yield encode_json(_told(seen)) + b"\n"


def _is_wanted(event: DaemonEvent, wanted: Mapping[str, list[str]]) -> bool:
    if event.kind == "events":
        return True  # what was missed may have been of any kind
    members = {"type": event.kind, "action": event.action, "model": event.model}
    return all(
        any(_is(members[name], value) for value in values) for name, values in wanted.items()
    )


def _is(value: str, wanted: str) -> bool:
    return value == wanted or value == f"{wanted}:latest"


async def _as_seen(api: Api, event: DaemonEvent) -> DaemonEvent | None:
    """The event as the caller may see it; None: it is about another's model.

    What happens to a loaded model happens to every model that it answers. Other models that an
    event names are left out where they are not the caller's.
    """
    if event.kind == "events":
        return event
    model = event.model
    if not may_see(model):
        if (event.kind, event.action) not in SHARED:
            return None
        own = await _own_name(api, model)
        if own is None:
            return None
        model = own
    facts = {
        name: value
        for name, value in event.facts.items()
        if name not in NAMING or may_see(str(value))
    }
    return replace(event, model=model, facts=facts)


async def _own_name(api: Api, model: str) -> str | None:
    """The name of a model of the caller's that is loaded with another."""
    try:
        key = await api.catalog.key_of(model)
        own = await api.catalog.own(key) if key else None
    except RegistryError:
        return None
    return None if own is None else own.reference.short


def _told(event: DaemonEvent) -> dict[str, Any]:
    return {
        "time": event.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": event.kind,
        "action": event.action,
        "model": event.model,
        "attributes": dict(event.facts),
    }
