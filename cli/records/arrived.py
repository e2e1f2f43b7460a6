"""What a pull, push or load ended with: names of models and what they stand for."""

from collections.abc import Iterable, Sequence
from typing import Final

from olmkit.cli.records.dataform import DataForm, Record
from olmkit.cli.records.recordlist import Column, RecordList
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.screen.units import size_text
from olmkit.engine.client import Client
from olmkit.engine.client.storereplies import inspect

ARRIVED: Final = RecordList(
    Column("NAME", "Name", lambda model, _: visible(model["name"])),
    Column("ID", "ID", lambda model, view: view.short(model["digest"])),
    Column("SIZE", "Size", lambda model, _: size_text(model["size"])),
    Column("DIGEST", "Digest", lambda model, _: model["digest"], is_shown=False),
    quiet="name",
)


def show_arrived(client: Client, names: Iterable[str], form: DataForm, terminal: Terminal) -> None:
    """Prints the models of those names, as the form says."""
    ARRIVED.show((_record(client, name) for name in names), form, terminal)


def name_among(names: Sequence[str], asked: str) -> str:
    """The one of a model's names that was asked for, with its tag; else what was asked for."""
    full = asked if ":" in asked.rpartition("/")[2] else f"{asked}:latest"
    return next((one for one in names if one.lower() == full.lower()), asked)


def _record(client: Client, name: str) -> Record:
    """A model of the store by any name that finds it: its full name, digest and size in bytes."""
    found = inspect(client, name)
    return {
        "name": name_among(found["names"], name),
        "digest": found["id"],
        "size": found["size"],
    }
