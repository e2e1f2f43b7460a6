"""`olm stats`: what loaded models take and do."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

from typer import Argument, Option

from olmkit.cli.records.dataflags import FilterFlag, FormatFlag, JsonFlag
from olmkit.cli.records.dataform import Record
from olmkit.cli.records.recordlist import View
from olmkit.cli.screen.output import display_width
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.cli.watching.runnerrates import RUNNERS, chosen, with_rates
from olmkit.engine.client import Client
from olmkit.engine.client.eventreplies import runner_stats
from olmkit.engine.client.loadedmodels import Wanted

INTERVAL_S = 1.0
"""Rates are taken over this time."""


def stats(
    models: Annotated[
        list[str] | None, Argument(metavar="[MODEL]...", help="Only these; all if none is named.")
    ] = None,
    stream: Annotated[
        bool, Option("--stream/--no-stream", help="Go on until Ctrl-C, or look once.")
    ] = True,
    filters: FilterFlag = None,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Show what loaded models take and do, once a second.

    MEMORY and CPU are of the runner process, 100% one core; TOKENS/S are written, PROMPT/S read;
    BUSY are sequences in use of those that are decoded side by side; CACHED are tokens in the KV
    pool. A dash is what a runner did not tell at once: it computes a long step, or is stuck.
    Filters are name (a pattern) and state.
    """
    form = RUNNERS.form(format=format, json=json, filters=filters)
    terminal = Terminal()
    redraws = form.is_text and stream and terminal.shows_data and os.environ.get("TERM") != "dumb"
    drawn = 0
    client = daemon(terminal, start=False)
    for seen in looks(client):
        found = chosen(seen, [Wanted.of(client, model) for model in models or ()])
        if redraws:
            text = RUNNERS.table(RUNNERS.chosen(found, form), View(datetime.now(UTC)))
            text = _fitted(text, *terminal.size)
            terminal.paint(f"\x1b[{drawn}A\x1b[J{text}" if drawn else text)
            drawn = text.count("\n")
        else:
            RUNNERS.show(found, form, terminal)
        if not stream:
            return


def looks(client: Client) -> Iterator[list[Record]]:
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
