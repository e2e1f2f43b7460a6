"""`olm history`: which instruction made which layer of a model."""

from typing import Annotated, Any

from typer import Argument, Option

from olmkit.cli.flags import Format
from olmkit.cli.screen.output import json_lines, table
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.screen.units import size_text
from olmkit.cli.settings import daemon
from olmkit.engine.client.storereplies import inspect

HEADER = ("INSTRUCTION", "SIZE", "DIGEST", "COMMENT")
SHORT_DIGEST = slice(7, 19)
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


def history(
    model: Annotated[str, Argument(metavar="MODEL", help="Name or ID of a model.")],
    format: Annotated[
        Format, Option("--format", help="A table, or one JSON object a line.")
    ] = Format.TABLE,
    no_trunc: Annotated[bool, Option("--no-trunc", help="Print digests in full.")] = False,
    quiet: Annotated[bool, Option("-q", "--quiet", help="Print digests only.")] = False,
) -> None:
    """Show which instruction made which layer of a model, the last one first."""
    terminal = Terminal()
    layers = [as_json(layer) for layer in reversed(inspect(daemon(terminal), model)["layers"])]
    shown = slice(None) if no_trunc else SHORT_DIGEST
    if quiet:
        terminal.data("".join(f"{layer['digest'][shown]}\n" for layer in layers))
    elif format is Format.JSON:
        terminal.data(json_lines(layers))
    else:
        rows = [
            (
                layer["instruction"] or "-",
                size_text(layer["size"]),
                layer["digest"][shown],
                visible(layer["comment"]),
            )
            for layer in layers
        ]
        terminal.data(table(HEADER, rows))


def as_json(layer: dict[str, Any]) -> dict[str, Any]:
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
