"""`olm events`: what happens in the daemon."""

import json as jsonlib
from typing import Annotated

from typer import Option

from olmkit.cli.errors import UsageError
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.settings import daemon
from olmkit.engine.client.eventreplies import Event, follow_events
from olmkit.engine.errors import DaemonNotRunning

FILTERS = ("type", "action", "model")


def events(
    since: Annotated[
        str,
        Option("--since", metavar="TIME", help="Begin earlier: 10m, 1795888800, RFC 3339."),
    ] = "",
    filter_: Annotated[
        list[str] | None,
        Option(
            "-f",
            "--filter",
            metavar="KEY=VALUE",
            help="Only those of this type, action or model; repeatable.",
        ),
    ] = None,
    follow: Annotated[
        bool, Option("--follow/--no-follow", help="Go on, or end after what is kept.")
    ] = True,
    json: Annotated[bool, Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show what happens in the daemon, as it happens, until Ctrl-C.

    Types are model (load, load_failed, unload, evict, die, restart, pull, push, create, import,
    tag, rm) and request (end). The daemon keeps the last thousand events; a reader that falls
    behind is told how many it missed. No event holds a prompt or an answer.
    """
    terminal = Terminal()
    client = daemon(terminal, start=False)
    for event in follow_events(
        client, since=since, filters=parse_filters(filter_ or []), follows=follow
    ):
        line = jsonlib.dumps(event.as_json(), ensure_ascii=False) if json else _line(event)
        terminal.data(line + "\n")
    if follow:
        raise DaemonNotRunning("the daemon has ended", address=client.address.url)


def parse_filters(words: list[str]) -> list[tuple[str, str]]:
    """Name and value of each filter. Raises: UsageError: one that there is not."""
    filters = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in FILTERS:
            raise UsageError(
                f"invalid filter {word!r}", hint=f"filters are {', '.join(FILTERS)}: type=model"
            )
        filters.append((name, value))
    return filters


def _line(event: Event) -> str:
    attributes = ", ".join(f"{name}={value}" for name, value in event.attributes.items())
    words = [event.time, event.kind, event.action, event.model]
    text = " ".join(word for word in words if word)
    return visible(f"{text} ({attributes})" if attributes else text).replace("\n", " ")
