"""`olm stats`: what loaded models take and do."""

import os
import time
from collections.abc import Iterator
from typing import Annotated, Any

from typer import Argument, Option

from olmkit.cli.screen.output import display_width, json_lines, table
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.cli.watching.rates import HEADER, chosen, row, with_rates
from olmkit.engine.client import Client
from olmkit.engine.client.eventreplies import runner_stats

INTERVAL_S = 1.0
"""Rates are taken over this time."""


def stats(
    models: Annotated[
        list[str] | None, Argument(metavar="[MODEL]...", help="Only these; all if none is named.")
    ] = None,
    stream: Annotated[
        bool, Option("--stream/--no-stream", help="Go on until Ctrl-C, or look once.")
    ] = True,
    json: Annotated[bool, Option("--json", help="Print one JSON object a model and look.")] = False,
) -> None:
    """Show what loaded models take and do, once a second.

    MEMORY and CPU are of the runner process, 100% one core; TOKENS/S are written, PROMPT/S read;
    BUSY are sequences in use of those that are decoded side by side; CACHED are tokens in the KV
    pool. A dash is what a runner did not tell at once: it computes a long step, or is stuck.
    """
    terminal = Terminal()
    client = daemon(terminal, start=False)
    redraws = terminal.shows_data and os.environ.get("TERM") != "dumb"
    drawn = 0
    for seen in looks(client):
        found = chosen(seen, models or [])
        if json:
            terminal.data(json_lines(found))
        else:
            text = table(HEADER, map(row, found))
            if stream and redraws:
                text = _fitted(text, *terminal.size)
                terminal.paint(f"\x1b[{drawn}A\x1b[J{text}" if drawn else text)
                drawn = text.count("\n")
            else:
                terminal.data(text)
        if not stream:
            return


def looks(client: Client) -> Iterator[list[dict[str, Any]]]:
    """What is seen each time, with the rates since the time before."""
    before = runner_stats(client)
    while True:
        time.sleep(INTERVAL_S)
        now = runner_stats(client)
        yield with_rates(before, now)
        before = now


def _fitted(text: str, columns: int, lines: int) -> str:
    """What of a table the terminal can show without scrolling or folding."""
    kept = text.splitlines()[: max(2, lines - 1)]
    return "".join(f"{_cut(line, columns)}\n" for line in kept)


def _cut(line: str, columns: int) -> str:
    while display_width(line) > columns:
        line = line[:-1]
    return line
