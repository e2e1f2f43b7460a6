"""What the daemon tells of itself as it runs, made into values; see `replies` for how lenient."""

from collections.abc import Generator, Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from olmkit.engine.client import Client
from olmkit.engine.client.http1 import Reply


class Event(NamedTuple):
    """One thing that happened."""

    time: str
    """RFC 3339, UTC."""
    kind: str
    """`model`, `request`, or `events` for what concerns the events themselves."""
    action: str
    model: str
    attributes: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The object, as the daemon told it."""
        return {
            "time": self.time,
            "type": self.kind,
            "action": self.action,
            "model": self.model,
            "attributes": dict(self.attributes),
        }


def follow_events(
    client: Client,
    *,
    since: str = "",
    filters: Iterable[tuple[str, str]] = (),
    follows: bool = True,
) -> Generator[Event, None, None]:
    """Events as they happen, to the daemon's end; the first ones from `since` on.

    `filters`: name and value; several of one name are alternatives. What happens after this has
    returned is in the events, whenever they are read.
    """
    query = [*filters, *([("since", since)] if since else [])]
    if not follows:
        query.append(("follow", "false"))
    return _events(client, client.open_get(f"/api/events?{urlencode(query)}"))


def _events(client: Client, reply: Reply) -> Generator[Event, None, None]:
    with reply:
        for value in client.lines(reply):
            attributes = value.get("attributes")
            yield Event(
                time=str(value.get("time", "")),
                kind=str(value.get("type", "")),
                action=str(value.get("action", "")),
                model=str(value.get("model", "")),
                attributes=attributes if isinstance(attributes, dict) else {},
            )


def runner_stats(client: Client) -> tuple[float, list[dict[str, Any]]]:
    """When the daemon looked, in seconds on its clock, and what each loaded model takes and did."""
    reply = client.request("GET", "/api/stats")
    models = reply.get("models")
    at_s = reply.get("at")
    return (
        float(at_s) if isinstance(at_s, int | float) else 0.0,
        [one for one in models if isinstance(one, dict)] if isinstance(models, list) else [],
    )
