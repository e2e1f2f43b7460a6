"""`olm ls`: the models of the store."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from typer import Argument, Option

from olmkit.cli.screen.output import json_lines, table
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.screen.units import age_text, size_text
from olmkit.cli.settings import daemon
from olmkit.engine.client.replies import ListedModel

HEADER = ("NAME", "ID", "SIZE", "MODIFIED")
ID_DIGITS = 12


class Format(StrEnum):
    """How a list is printed."""

    TABLE = "table"
    JSON = "json"


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


def row(model: ListedModel, now: datetime, *, in_full: bool = False) -> tuple[str, ...]:
    """One line of the table."""
    return (
        visible(model.name),
        model.digest if in_full else model.digest[:ID_DIGITS],
        "-" if model.is_remote else size_text(model.size_bytes),
        age_text(model.modified_at, now),
    )


def as_json(model: ListedModel) -> dict[str, object]:
    """One object of the JSON output, in the API's words."""
    return {
        "name": model.name,
        "digest": model.digest,
        "size": model.size_bytes,
        "modified_at": model.modified_at.isoformat() if model.modified_at else None,
    }
