"""`olm ls`: the models of the store."""

from datetime import UTC, datetime
from typing import Annotated

from typer import Argument, Option

from olmkit.cli.flags import Format
from olmkit.cli.screen.modeltable import HEADER, as_json, row
from olmkit.cli.screen.output import json_lines, table
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon


def ls(
    prefix: Annotated[
        str, Argument(metavar="[PREFIX]", help="Only models whose names begin so, in any case.")
    ] = "",
    quiet: Annotated[bool, Option("-q", "--quiet", help="Print names only.")] = False,
    no_trunc: Annotated[bool, Option("--no-trunc", help="Print IDs in full.")] = False,
    format: Annotated[
        Format, Option("--format", help="A table, or one JSON object a line.")
    ] = Format.TABLE,
) -> None:
    """List models, newest first."""
    terminal = Terminal()
    models = [
        model
        for model in daemon(terminal).models()
        if model.name.lower().startswith(prefix.lower())
    ]
    if quiet:
        terminal.data("".join(f"{model.name}\n" for model in models))
    elif format is Format.JSON:
        terminal.data(json_lines(map(as_json, models)))
    else:
        now = datetime.now(UTC)
        terminal.data(table(HEADER, [row(model, now, in_full=no_trunc) for model in models]))
