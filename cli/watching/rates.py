"""Rates between two looks at the runners, and their table. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from olmkit.cli.screen.terminal import visible
from olmkit.cli.screen.units import size_text

HEADER: Final = (
    *("NAME", "STATE", "MEMORY", "CPU", "TOKENS/S", "PROMPT/S", "BUSY", "WAITING", "CACHED"),
)
Look = tuple[float, Sequence[Mapping[str, Any]]]
"""When the daemon looked, in seconds, and what it saw of each model."""

_RATES: Final = {
    "cpu_percent": ("cpu_seconds", 100),
    "tokens_per_second": ("completion_tokens", 1),
    "prompt_tokens_per_second": ("prompt_tokens", 1),
}
"""Each by the total that it is the growth of, and its factor."""


def with_rates(before: Look, now: Look) -> list[dict[str, Any]]:
    """What was seen last, with how fast its totals grew; null where that is not known."""
    (before_s, earlier), (now_s, later) = before, now
    known = {one.get("pid"): one for one in earlier if one.get("pid") is not None}
    span_s = now_s - before_s
    told = []
    for one in later:
        then = known.get(one.get("pid"), {})
        rates = {
            name: _rate(then.get(total), one.get(total), span_s, factor)
            for name, (total, factor) in _RATES.items()
        }
        told.append({**one, **rates})
    return told


def _rate(before: object, now: object, span_s: float, factor: int) -> float | None:
    if not isinstance(before, int | float) or not isinstance(now, int | float) or span_s <= 0:
        return None
    return round(max(0.0, now - before) * factor / span_s, 1)


def chosen(models: Iterable[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Those of these names, `:latest` understood; all for no names."""
    wanted = {name.lower() for name in names} | {f"{name.lower()}:latest" for name in names}
    return [one for one in models if not names or str(one.get("name", "")).lower() in wanted]


def row(model: Mapping[str, Any]) -> tuple[str, ...]:
    """One line of the table; what is not known is a dash."""
    sequences = model.get("sequences") or {}
    memory, cpu = model.get("memory"), model.get("cpu_percent")
    return (
        visible(str(model.get("name", ""))),
        str(model.get("state", "")),
        "-" if memory is None else size_text(int(memory)),
        "-" if cpu is None else f"{cpu:.0f}%",
        _number(model.get("tokens_per_second")),
        _number(model.get("prompt_tokens_per_second")),
        f"{sequences.get('busy', 0)}/{sequences.get('total', 0)}",
        str(model.get("waiting", 0)),
        _number(model.get("cached_tokens")),
    )


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else "-"
