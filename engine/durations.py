"""Durations in Go's notation (`5m`, `1h30m`, `-1m`, `0`), as Ollama's interfaces write them, and
moments as Docker's `--since` takes them."""

import math
import re
from datetime import UTC, datetime

_UNIT_S = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_MAX_TEXT = 64
_CENTURY_S = 100 * 365 * 86400.0


class MissingUnit(ValueError):
    """A number other than 0 without a unit."""


def parse_duration(text: str) -> float:
    """Seconds of a Go duration; negative when it says so.

    Raises:
        MissingUnit: a bare number other than 0.
        ValueError: no duration otherwise. Both say so in one sentence without a full stop.
    Source: https://pkg.go.dev/time#ParseDuration
    """
    body = text[1:] if text[:1] in ("+", "-") else text
    sign = -1.0 if text[:1] == "-" else 1.0
    if body == "0":
        return 0.0
    if re.fullmatch(r"[0-9]+\.?[0-9]*", body, re.ASCII) and len(text) <= _MAX_TEXT:
        raise MissingUnit(f"missing unit in duration {text!r}")
    seconds, position = 0.0, 0
    while len(text) <= _MAX_TEXT and (part := _PART.match(body, position)):
        seconds += float(part[1]) * _UNIT_S[part[2]]
        position = part.end()
    if not body or position != len(body):
        raise ValueError(f"invalid duration {text[:_MAX_TEXT]!r}")
    return sign * seconds


def parse_moment(text: str, *, now_s: float) -> datetime:
    """The moment that a text names: RFC 3339, seconds of the epoch, or a duration before now.

    Aware. `now_s`: seconds of the epoch.

    Raises:
        ValueError: it names none; in one sentence without a full stop.
    """
    try:
        if text[-1:] in ("s", "m", "h"):
            return datetime.fromtimestamp(now_s - parse_duration(text), UTC)
        return parse_instant(text)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"{text[:_MAX_TEXT]!r} is no time") from error


def parse_instant(text: str) -> datetime:
    """An aware time of RFC 3339, which is the machine's without a zone, or seconds of the epoch.

    Raises:
        ValueError, OverflowError, OSError: it is none, or none that there can be.
    """
    if text.replace(".", "", 1).isdecimal():
        return datetime.fromtimestamp(float(text), UTC)
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.astimezone()


def keep_alive_seconds(seconds: float) -> float:
    """A keep-alive time as the pool takes it; negative, or over a century: for ever."""
    return seconds if 0 <= seconds < _CENTURY_S else math.inf
