"""`olm ps`: the models in memory."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from typer import Argument, Option

from olmkit.cli.flags import Format
from olmkit.cli.screen.modeltable import ID_DIGITS
from olmkit.cli.screen.output import json_lines, table
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.screen.units import age_text, size_text
from olmkit.cli.settings import daemon
from olmkit.engine.client.replies import RunningModel
from olmkit.engine.errors import DaemonNotRunning

HEADER = ("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL")
MORE = ("STATE", "BUSY", "CACHED", "DEVICES")
"""What --verbose shows beside it."""


def ps(
    prefix: Annotated[
        str, Argument(metavar="[PREFIX]", help="Only models whose names begin so, in any case.")
    ] = "",
    quiet: Annotated[bool, Option("-q", "--quiet", help="Print names only.")] = False,
    no_trunc: Annotated[bool, Option("--no-trunc", help="Print IDs in full.")] = False,
    verbose: Annotated[
        bool, Option("-v", "--verbose", help="Also state, sequences, cached tokens, devices.")
    ] = False,
    format: Annotated[
        Format, Option("--format", help="A table, or one JSON object a line.")
    ] = Format.TABLE,
) -> None:
    """List loaded models, the one that stays longest first.

    Without a running daemon nothing is loaded, and the list is empty.
    """
    terminal = Terminal()
    models = [model for model in loaded(terminal) if model.name.lower().startswith(prefix.lower())]
    if quiet:
        terminal.data("".join(f"{model.name}\n" for model in models))
    elif format is Format.JSON:
        terminal.data(json_lines(map(as_json, models)))
    else:
        now = datetime.now(UTC)
        rows = [row(model, now, in_full=no_trunc) for model in models]
        if verbose:
            rows = [(*cells, *more(model)) for cells, model in zip(rows, models, strict=True)]
        terminal.data(table((*HEADER, *MORE) if verbose else HEADER, rows))
        for caveat in dict.fromkeys(model.safe_mode for model in models if model.safe_mode):
            terminal.message(f"warning: {caveat}\n")
        for model in models:
            for note in model.notes:
                terminal.message(f"warning: {visible(model.name)}: {visible(note)}\n")


def loaded(terminal: Terminal) -> list[RunningModel]:
    """The loaded models; none where a daemon of this machine does not run.

    Raises:
        DaemonError: a daemon elsewhere cannot be reached.
    """
    client = daemon(terminal, start=False)
    try:
        return client.running()
    except DaemonNotRunning:
        if client.address.is_local:
            return []
        raise


def row(model: RunningModel, now: datetime, *, in_full: bool = False) -> tuple[str, ...]:
    """One line of the table."""
    is_going = model.expires_at is None or model.expires_at <= now
    return (
        visible(model.name),
        model.digest if in_full else model.digest[:ID_DIGITS],
        size_text(model.size_bytes),
        processor(model.size_bytes, model.vram_bytes) + cards(model.devices),
        str(model.context_tokens),
        "Stopping..." if is_going else age_text(model.expires_at, now),
    )


def more(model: RunningModel) -> tuple[str, ...]:
    """The further cells of a line; a dash is what the daemon did not tell."""
    devices = (f"{visible(name)} {size_text(size)}" for name, size in model.devices.items())
    return (
        model.state or "-",
        f"{model.busy}/{model.sequences}" if model.sequences else "-",
        "-" if model.cached_tokens is None else str(model.cached_tokens),
        ", ".join(devices) or "-",
    )


def processor(size_bytes: int, vram_bytes: int) -> str:
    """The shares of a model by device: `100% GPU`, `48%/52% CPU/GPU`."""
    if vram_bytes == 0:
        return "100% CPU"
    if vram_bytes == size_bytes:
        return "100% GPU"
    if vram_bytes > size_bytes:
        return "Unknown"
    cpu_percent = int((size_bytes - vram_bytes) / size_bytes * 100 + 0.5)
    return f"{cpu_percent}%/{100 - cpu_percent}% CPU/GPU"


def cards(devices: Mapping[str, int]) -> str:
    """What each of several cards has: ` (CUDA0 52%, CUDA1 48%)`; empty for one or none."""
    on_cards = {visible(name): size for name, size in devices.items() if name != "CPU"}
    total = sum(on_cards.values())
    if len(on_cards) < 2 or not total:
        return ""
    parts = (f"{name} {round(100 * size / total)}%" for name, size in on_cards.items())
    return f" ({', '.join(parts)})"


def as_json(model: RunningModel) -> dict[str, object]:
    """One object of the JSON output, in the API's words."""
    safe_mode = {"safe_mode": model.safe_mode} if model.safe_mode else {}
    notes = {"notes": list(model.notes)} if model.notes else {}
    return {
        "name": model.name,
        "digest": model.digest,
        "size": model.size_bytes,
        "size_vram": model.vram_bytes,
        "context_length": model.context_tokens,
        "expires_at": model.expires_at.isoformat() if model.expires_at else None,
        "devices": dict(model.devices),
        "state": model.state,
        "sequences": {"total": model.sequences, "busy": model.busy},
        "cached_tokens": model.cached_tokens,
        **notes,
        **safe_mode,
    }
