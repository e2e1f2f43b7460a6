"""`olm events`: what happens in the daemon."""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from typer import Option

from olmkit.cli.errors import UsageError
from olmkit.cli.nearest import near_hint
from olmkit.cli.records.dataflags import FilterFlag, FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.records.filters import parse_time
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.settings import daemon
from olmkit.engine.client.eventreplies import Event, follow_events
from olmkit.engine.errors import DaemonNotRunning

FILTERS = ("type", "action", "model")


def events(
    since: Annotated[
        str, Option("--since", metavar="TIME", help="Begin earlier: an age as 10m, or a date.")
    ] = "",
    filters: FilterFlag = None,
    follow: Annotated[
        bool, Option("--follow/--no-follow", help="Go on, or end after what is kept.")
    ] = True,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Show what happens in the daemon, as it happens, until Ctrl-C.

    Types are model (load, load_failed, unload, evict, die, restart, pull, push, create, import,
    tag, rm) and request (end). The daemon keeps the last thousand events; a reader that falls
    behind is told how many it missed. No event holds a prompt or an answer. Filters are type,
    action and model.
    """
    form = data_form(format=format, json=json, filters=filters)
    for name, _ in form.filters:
        if name not in FILTERS:
            hint = near_hint(name, FILTERS) or f"the filters are {', '.join(FILTERS)}"
            raise UsageError(f"unknown filter {name[:80]!r}", hint=hint)
    begin = parse_time(since, datetime.now(UTC)).isoformat() if since else ""
    terminal = Terminal()
    client = daemon(terminal, start=False)
    for event in follow_events(client, since=begin, filters=form.filters, follows=follow):
        show = partial(terminal.data, _line(event))
        fields = {"Time": event.time, "Type": event.kind, "Action": event.action}
        fields["Model"] = event.model
        show_value(event.as_json(), form, terminal, show, fields=fields)
    if follow:
        raise DaemonNotRunning("the daemon has ended", address=client.address.url)


def _line(event: Event) -> str:
    attributes = ", ".join(f"{name}={value}" for name, value in event.attributes.items())
    words = [event.time, event.kind, event.action, event.model]
    text = " ".join(word for word in words if word)
    return visible(f"{text} ({attributes})" if attributes else text).replace("\n", " ") + "\n"
