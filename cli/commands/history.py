"""`olm history`: which instruction made which layer of a model."""

from typing import Annotated, Any, Final

from typer import Argument

from olmkit.cli.records.dataflags import FormatFlag, JsonFlag, NoTruncFlag, QuietFlag
from olmkit.cli.records.dataform import Record
from olmkit.cli.records.recordlist import Column, RecordList
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.screen.units import size_text
from olmkit.cli.settings import daemon
from olmkit.engine.client.storereplies import inspect

INSTRUCTIONS = {
    "weights": "FROM",
    "projector": "FROM",
    "adapter": "ADAPTER",
    "draft": "DRAFT",
    "template": "TEMPLATE",
    "chat template": "TEMPLATE",
    "system": "SYSTEM",
    "params": "PARAMETER",
    "messages": "MESSAGE",
    "license": "LICENSE",
}
"""Instructions by the role of a layer; layers of other roles came with the model."""


LAYERS: Final = RecordList(
    Column("INSTRUCTION", "Instruction", lambda layer, _: layer["instruction"] or "-"),
    Column("SIZE", "Size", lambda layer, _: size_text(layer["size"])),
    Column("DIGEST", "Digest", lambda layer, view: view.short(layer["digest"])),
    Column("COMMENT", "Comment", lambda layer, _: visible(layer["comment"])),
    # Docker's words for the same
    Column("ID", "ID", lambda layer, view: view.short(layer["digest"]), is_shown=False),
    Column("CREATED BY", "CreatedBy", lambda layer, _: layer["instruction"] or "-", is_shown=False),
    quiet=lambda layer, view: view.short(layer["digest"]),
)


def history(
    model: Annotated[str, Argument(metavar="MODEL", help="Name or ID of a model.")],
    format: FormatFlag = "",
    json: JsonFlag = False,
    no_trunc: NoTruncFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Show which instruction made which layer of a model, the last one first."""
    form = LAYERS.form(format=format, json=json, quiet=quiet, no_trunc=no_trunc)
    terminal = Terminal()
    layers = inspect(daemon(terminal), model)["layers"]
    LAYERS.show(map(as_json, reversed(layers)), form, terminal)


def as_json(layer: dict[str, Any]) -> Record:
    """One layer as it is printed."""
    role = str(layer["role"])
    notes = [role if role in ("projector", "chat template") else "", layer["name"] or ""]
    notes += [f"from {layer['from']}" if layer["from"] else ""]
    notes += [layer["media_type"] if role == "other" else ""]
    return {
        "instruction": INSTRUCTIONS.get(role, ""),
        "size": int(layer["size"]),
        "digest": str(layer["digest"]),
        "media_type": layer["media_type"],
        "comment": ", ".join(filter(None, notes)),
    }
