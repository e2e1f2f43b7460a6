"""`olm ps`: the models in memory."""

from collections.abc import Mapping
from typing import Annotated, Final

from typer import Argument, Option

from olmkit.cli.records.dataflags import (
    FilterFlag,
    FormatFlag,
    JsonFlag,
    NoTruncFlag,
    QuietFlag,
)
from olmkit.cli.records.dataform import Record
from olmkit.cli.records.filters import begins, glob
from olmkit.cli.records.modellist import instant_of
from olmkit.cli.records.recordlist import Column, RecordList, View
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.screen.units import age_text, size_text
from olmkit.cli.settings import daemon
from olmkit.cli.watching.runnerrates import busy
from olmkit.engine.client.replies import RunningModel
from olmkit.engine.errors import DaemonNotRunning


def ps(
    prefix: Annotated[
        str, Argument(metavar="[PREFIX]", help="Only models whose names begin so, in any case.")
    ] = "",
    quiet: QuietFlag = False,
    no_trunc: NoTruncFlag = False,
    verbose: Annotated[
        bool,
        Option("-v", "--verbose", help="Also state, sequences, cached tokens, devices, drawing."),
    ] = False,
    filters: FilterFlag = None,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """List loaded models, the one that stays longest first.

    Without a running daemon nothing is loaded, and the list is empty. Filters are name (a
    pattern) and id.
    """
    shape = IN_DETAIL if verbose else LOADED
    form = shape.form(format=format, json=json, quiet=quiet, no_trunc=no_trunc, filters=filters)
    terminal = Terminal()
    models = [
        as_json(model)
        for model in loaded(terminal)
        if model.name.lower().startswith(prefix.lower())
    ]
    shown = shape.show(models, form, terminal)
    if not form.is_text:
        return
    for caveat in dict.fromkeys(model["safe_mode"] for model in shown if "safe_mode" in model):
        terminal.message(f"warning: {caveat}\n")
    for model in shown:
        for note in model.get("notes", ()):
            terminal.message(f"warning: {visible(model['name'])}: {visible(note)}\n")


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


def until(model: Record, view: View) -> str:
    """When a model goes: `4 minutes from now`."""
    expires_at = instant_of(model["expires_at"])
    is_going = expires_at is None or expires_at <= view.now
    return "Stopping..." if is_going else age_text(expires_at, view.now)


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


def as_json(model: RunningModel) -> Record:
    """One object of the JSON output, in the API's words."""
    safe_mode = {"safe_mode": model.safe_mode} if model.safe_mode else {}
    notes = {"notes": list(model.notes)} if model.notes else {}
    return {
        "name": model.name,
        "digest": model.digest,
        "size": model.size_bytes,
        "size_vram": model.vram_bytes,
        "context_length": model.context_tokens,
        "context_by": model.context_by or None,
        "expires_at": model.expires_at.isoformat() if model.expires_at else None,
        "devices": dict(model.devices),
        "serves": list(model.serves),
        "state": model.state,
        "sequences": {
            "total": model.sequences,
            "busy": model.busy,
            "contexts": model.contexts,
            "short": model.short,
        },
        "cached_tokens": model.cached_tokens,
        "drawing": model.drawing._asdict() if model.drawing else None,
        **notes,
        **safe_mode,
    }


def _devices(model: Record, _: View) -> str:
    sizes = (f"{visible(name)} {size_text(size)}" for name, size in model["devices"].items())
    return ", ".join(sizes) or "-"


def _cached(model: Record, _: View) -> str:
    return "-" if model["cached_tokens"] is None else str(model["cached_tokens"])


def drawing(ways: Mapping[str, int | None] | None) -> str:
    """How next tokens are drawn: `shortlist from 2 requests on`, `chains in threads from 4 on`."""
    if ways is None:
        return "-"
    named = (("shortlist", ways["shortlist_from"]), ("chains in threads", ways["threads_from"]))
    said = [
        name if least == 1 else f"{name} from {least} requests on"
        for name, least in named
        if least is not None
    ]
    return ", ".join(said) or "chains"


_COLUMNS: Final = (
    Column("NAME", "Name", lambda model, _: visible(model["name"])),
    Column("ID", "ID", lambda model, view: view.short(model["digest"])),
    Column("SIZE", "Size", lambda model, _: size_text(model["size"])),
    Column(
        "PROCESSOR",
        "Processor",
        lambda model, _: processor(model["size"], model["size_vram"]) + cards(model["devices"]),
    ),
    Column("CONTEXT", "Context", lambda model, _: str(model["context_length"])),
    Column("UNTIL", "Until", until),
    # Docker's words for the same
    Column("IMAGE", "Image", lambda model, _: visible(model["name"]), is_shown=False),
    Column("NAMES", "Names", lambda model, _: visible(model["name"]), is_shown=False),
)
_MORE: Final = (
    Column("CONTEXT BY", "ContextBy", lambda model, _: model["context_by"] or "-"),
    Column("STATE", "State", lambda model, _: model["state"] or "-"),
    Column("BUSY", "Busy", lambda model, _: busy(model["sequences"])),
    Column("CACHED", "Cached", _cached),
    Column("DEVICES", "Devices", _devices),
    Column("DRAWING", "Drawing", lambda model, _: drawing(model["drawing"])),
)
_FILTERS: Final = {"name": glob("name"), "id": begins("digest")}

LOADED: Final = RecordList(
    *_COLUMNS,
    *(column._replace(is_shown=False) for column in _MORE),
    quiet="name",
    filters=_FILTERS,
)
IN_DETAIL: Final = RecordList(*_COLUMNS, *_MORE, quiet="name", filters=_FILTERS)
