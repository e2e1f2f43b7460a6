"""GET /api/events: olm's own, what happens in the daemon, a line an event."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.access.caller import current
from olmkit.engine.api.jsontext import encode_json
from olmkit.engine.api.state import api_of
from olmkit.engine.api.streams import NDJSON, byte_stream
from olmkit.engine.durations import parse_moment
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.telemetry.eventlog import DaemonEvent
from olmkit.registry.errors import InvalidReference
from olmkit.registry.oci.reference import Reference

FILTERS: Final = ("type", "action", "model")
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
    log = api_of(request).services.events
    place = log.place(_moment(query.get("since", "")))
    return await byte_stream(
        request,
        _lines(log.read(place, follows=query.get("follow") != "false"), wanted),
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
    events: AsyncGenerator[DaemonEvent, None], wanted: Mapping[str, list[str]]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        yield b"\n"  # now the client knows that it will hear of whatever happens from here on
        async for event in events:
            if _is_wanted(event, wanted) and _may_see(event):
                yield encode_json(_told(event)) + b"\n"


def _is_wanted(event: DaemonEvent, wanted: Mapping[str, list[str]]) -> bool:
    if event.kind == "events":
        return True  # what was missed may have been of any kind
    members = {"type": event.kind, "action": event.action, "model": event.model}
    return all(
        any(_is(members[name], value) for value in values) for name, values in wanted.items()
    )


def _is(value: str, wanted: str) -> bool:
    return value == wanted or value == f"{wanted}:latest"


def _may_see(event: DaemonEvent) -> bool:
    """Whether it concerns a model of the caller's."""
    caller = current()
    if caller.models is None or event.kind == "events":
        return True
    try:
        return caller.may_use(Reference.parse(event.model))
    except InvalidReference:
        return False


def _told(event: DaemonEvent) -> dict[str, Any]:
    return {
        "time": event.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": event.kind,
        "action": event.action,
        "model": event.model,
        "attributes": dict(event.facts),
    }
