"""`olm plan`: where a model would go, without loading it."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from typer import Argument, Option

from olmkit.cli.flags import Insecure
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.output import table
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.screen.units import size_text
from olmkit.cli.settings import daemon

HEADER = ("DEVICE", "LAYERS", "WEIGHTS", "KV CACHE", "BUFFERS", "PROCESS", "TOTAL", "FREE")
_REASONS: Final = {
    "default": "the default: num_ctx or OLM_CONTEXT_LENGTH decide otherwise",
    "trained": "the model was trained on no more",
    "memory": "by what is free: num_ctx or OLM_CONTEXT_LENGTH decide otherwise",
}
"""What decided how long the context is, unless it was asked for."""


def plan(
    model: Annotated[str, Argument(metavar="MODEL", help="Name, also of one not pulled yet.")],
    ctx: Annotated[
        int | None, Option("--ctx", metavar="N", min=1, help="Tokens of context.")
    ] = None,
    parallel: Annotated[
        int | None, Option("--parallel", metavar="N", min=1, help="Requests side by side.")
    ] = None,
    kv: Annotated[
        str | None, Option("--kv", metavar="TYPE", help="Type of the KV cache, such as q8_0.")
    ] = None,
    device: Annotated[
        list[str] | None,
        Option("--device", metavar="DEVICE", help="Name, UUID, number or cpu; repeatable."),
    ] = None,
    quant: Annotated[
        str | None,
        Option("--quant", metavar="NAME", help="Of one not pulled: this quantization, or auto."),
    ] = None,
    require_gpu: Annotated[
        bool, Option("--require-gpu", help="All layers on cards, or an error.")
    ] = False,
    min_ctx: Annotated[
        int | None,
        Option("--min-ctx", metavar="N", min=1, help="A shorter context of so much will do."),
    ] = None,
    insecure: Insecure = False,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Show which devices a model would take, what of them, and why, without loading it."""
    form = data_form(format=format, json=json)
    terminal = Terminal()
    options: dict[str, object] = {}
    for name, value in (("num_ctx", ctx), ("min_ctx", min_ctx), ("require_gpu", require_gpu)):
        if value:
            options[name] = value
    body: dict[str, object] = {"model": model, "options": options, "insecure": insecure}
    for name, given in (
        ("parallel", parallel),
        ("kv_cache_type", kv),
        ("devices", device),
        ("quantization", quant),
    ):
        if given:
            body[name] = given
    found = daemon(terminal).plan(body)
    devices = [one for one in found.get("devices") or () if isinstance(one, dict)]
    lines = sentences(found, devices)
    show_value(
        dict(found),
        form,
        terminal,
        lambda: terminal.data(
            table(HEADER, [row(one) for one in devices]) + "".join(f"{line}\n" for line in lines)
        ),
    )
    for note in (found.get("notes") or ()) if form.is_text else ():
        terminal.message(f"warning: {visible(str(note))}\n")


def row(device: Mapping[str, Any]) -> tuple[str, ...]:
    """One device of the table."""
    uses = [device.get(f"{use}_bytes") or 0 for use in ("weights", "kv", "compute", "process")]
    return (
        visible(str(device.get("name", ""))),
        str(device.get("layers", 0)),
        *(size_text(size) for size in (*uses, sum(uses))),
        size_text(device.get("free_bytes") or 0),
    )


def sentences(found: Mapping[str, Any], devices: list[dict[str, Any]]) -> list[str]:
    """What the table does not say."""
    lines = []
    largest = found.get("largest_context_length")
    more = f"; the largest that fits is {largest}" if largest else ""
    lines.append(f"context: {found.get('context_length')} tokens{_reason(found)}{more}")
    if (contexts := found.get("contexts") or 1) > 1:
        lines.append(f"the KV cache has room for {contexts} of that")
    cards = [one for one in devices if one.get("name") != "CPU" and one.get("layers")]
    on_cards = sum(one.get("layers", 0) for one in cards)
    if not cards:
        lines.append("the processor computes all layers")
    elif len(cards) == 1:
        lines.append(f"{on_cards} of {found.get('layers')} layers fit on one device")
    else:
        lines.append(f"{on_cards} of {found.get('layers')} layers need {len(cards)} devices")
    if evicted := found.get("evicts"):
        lines.append(f"would be unloaded: {', '.join(map(visible, map(str, evicted)))}")
    if pace := found.get("most_tokens_per_second"):
        speeds = [
            f"{visible(str(one.get('name', '')))} {speed / 1e9:.0f} GB/s"
            for one in devices
            if (speed := one.get("bytes_per_second"))
        ]
        lines.append(f"at most {pace:.0f} tokens/s: memory of {', '.join(speeds)}")
    if not found.get("pulled"):
        lines.append(f"not pulled yet: {size_text(found.get('download') or 0)} to fetch")
    if why := found.get("why"):
        lines.append(visible(str(why)))
    return lines


def _reason(found: Mapping[str, Any]) -> str:
    reason = _REASONS.get(str(found.get("context_by")))
    return f" ({reason})" if reason else ""
