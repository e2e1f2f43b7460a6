"""Rates between two looks at the runners, and their table. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from olmkit.cli.records.dataform import Record
from olmkit.cli.records.filters import equals, glob
from olmkit.cli.records.recordlist import Column, RecordList, View
from olmkit.cli.screen.terminal import visible
from olmkit.cli.screen.units import size_text
from olmkit.engine.client.loadedmodels import Wanted

Look = tuple[float, Sequence[Mapping[str, Any]]]
"""When the daemon looked, in seconds, and what it saw of each model."""

_RATES: Final = {
    "cpu_percent": ("cpu_seconds", 100),
    "tokens_per_second": ("completion_tokens", 1),
    "prompt_tokens_per_second": ("prompt_tokens", 1),
}
"""Each by the total that it is the growth of, and its factor."""


def with_rates(before: Look, now: Look) -> list[Record]:
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


def chosen(models: Iterable[Record], wanted: Sequence[Wanted]) -> list[Record]:
    """Those that answer one of the wanted models; all where none is named."""
    return [
        one
        for one in models
        if not wanted
        or any(
            each.is_answered_by(str(one.get("name", "")), one.get("serves") or ())
            for each in wanted
        )
    ]


def _number(member: str, form: str = "g") -> Callable[[Record, View], str]:
    """The cell of a number; a dash where it is not known."""

    def text(model: Record, _: View) -> str:
        value = model.get(member)
        return format(value, form) if isinstance(value, int | float) else "-"

    return text


def _memory(model: Record, _: View) -> str:
    value = model.get("memory")
    return size_text(value) if isinstance(value, int) else "-"


def busy(sequences: Mapping[str, Any]) -> str:
    """Sequences in use of those that there are, and how many of them wait for room in the KV cache:
    `4/4 (1 waits)`; a dash where the daemon does not tell."""
    if not sequences.get("total"):
        return "-"
    text, short = f"{sequences.get('busy', 0)}/{sequences['total']}", sequences.get("short")
    return f"{text} ({short} wait{'s' if short == 1 else ''})" if short else text


def _cpu(model: Record, view: View) -> str:
    text = _number("cpu_percent", ".0f")(model, view)
    return text if text == "-" else f"{text}%"


RUNNERS: Final = RecordList(
    Column("NAME", "Name", lambda model, _: visible(str(model.get("name", "")))),
    Column("STATE", "State", lambda model, _: str(model.get("state", ""))),
    Column("MEMORY", "Memory", _memory),
    Column("CPU", "CPU", _cpu),
    Column("TOKENS/S", "Tokens", _number("tokens_per_second")),
    Column("PROMPT/S", "PromptTokens", _number("prompt_tokens_per_second")),
    Column("BUSY", "Busy", lambda model, _: busy(model.get("sequences") or {})),
    Column("WAITING", "Waiting", _number("waiting")),
    Column("CACHED", "Cached", _number("cached_tokens")),
    quiet="name",
    filters={"name": glob("name"), "state": equals("state")},
)
