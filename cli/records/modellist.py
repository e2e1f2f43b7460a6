"""The list of models: its JSON, its columns, and what it can be filtered by."""

from datetime import UTC, datetime
from typing import Final

from olmkit.cli.records.dataform import Record
from olmkit.cli.records.filters import begins, beside, boolean, equals, glob, until
from olmkit.cli.records.recordlist import Column, RecordList, View
from olmkit.cli.screen.terminal import visible
from olmkit.cli.screen.units import age_text, size_text
from olmkit.engine.client.replies import ListedModel


def model_record(model: ListedModel) -> Record:
    """One object of the JSON, in the API's words."""
    return {
        "name": model.name,
        "digest": model.digest,
        "size": model.size_bytes,
        "modified_at": model.modified_at.isoformat() if model.modified_at else None,
        "family": model.family,
        "parameter_size": model.parameter_size,
        "quantization": model.quantization,
        "remote": model.is_remote,
    }


def age_of(member: str, record: Record, view: View) -> str:
    """How long ago a time of a record was."""
    return age_text(instant_of(record[member]), view.now)


def instant_of(text: str | None) -> datetime | None:
    """A time as records have it."""
    return datetime.fromisoformat(text) if text else None


def docker_time(text: str | None) -> str:
    """A time as Docker writes it: `2026-08-21 10:00:00 +0000 UTC`."""
    instant = instant_of(text)
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC") if instant else ""


def split_name(name: str) -> tuple[str, str]:
    """A name without its tag, and the tag."""
    bare, colon, tag = name.rpartition(":")
    return (bare, tag) if colon and "/" not in tag else (name, "")


MODELS: Final = RecordList(
    Column("NAME", "Name", lambda model, _: visible(model["name"])),
    Column("ID", "ID", lambda model, view: view.short(model["digest"])),
    Column("SIZE", "Size", lambda model, _: "-" if model["remote"] else size_text(model["size"])),
    Column("MODIFIED", "Modified", lambda model, view: age_of("modified_at", model, view)),
    # Docker's words for the same
    Column(
        "REPOSITORY",
        "Repository",
        lambda model, _: visible(split_name(model["name"])[0]),
        is_shown=False,
    ),
    Column("TAG", "Tag", lambda model, _: visible(split_name(model["name"])[1]), is_shown=False),
    Column("DIGEST", "Digest", lambda model, _: f"sha256:{model['digest']}", is_shown=False),
    Column(
        "CREATED",
        "CreatedSince",
        lambda model, view: age_of("modified_at", model, view),
        is_shown=False,
    ),
    Column(
        "CREATED AT",
        "CreatedAt",
        lambda model, _: docker_time(model["modified_at"]),
        is_shown=False,
    ),
    quiet="name",
    filters={
        "name": glob("name"),
        "reference": glob("name"),
        "id": begins("digest"),
        "family": equals("family"),
        "quantization": equals("quantization"),
        "before": beside("name", "modified_at", is_after=False),
        "since": beside("name", "modified_at", is_after=True),
        "until": until("modified_at"),
        "dangling": boolean(lambda _: False),
    },
)
"""Models, newest first. Every model of a store has a name: none is dangling."""
