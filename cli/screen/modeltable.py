"""The table of models: its columns, its rows, and the same as JSON."""

from datetime import datetime
from typing import Final

from olmkit.cli.screen.terminal import visible
from olmkit.cli.screen.units import age_text, size_text
from olmkit.engine.client.replies import ListedModel

HEADER: Final = ("NAME", "ID", "SIZE", "MODIFIED")
ID_DIGITS: Final = 12


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
