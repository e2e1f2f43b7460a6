"""Sizes, counts, ages and durations as people read them.

Pure functions from numbers to text; the clock is an argument. The forms are Ollama's:
https://github.com/ollama/ollama/blob/v0.17.4/format/bytes.go, and format.go and time.go beside it.
"""

import math
from datetime import datetime, timedelta

_SIZE_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB"))
FOREVER_YEARS = 20
"""Years of 365 days from which on a time ahead is shown as `Forever`."""


def size_text(size_bytes: int) -> str:
    """A size in decimal units: `999 B`, `1.5 KB`, `42 GB`; below ten with one decimal."""
    for unit_bytes, unit in _SIZE_UNITS:
        if size_bytes >= unit_bytes:
            value = size_bytes / unit_bytes
            if value >= 10 or value == int(value):
                return f"{int(value)} {unit}"
            return f"{value:.1f} {unit}"
    return f"{size_bytes} B"


def count_text(count: int) -> str:
    """A number of parameters: `7B`, `2.9B`, `133.70M`, `1K`."""
    if count >= 10**9:
        return f"{count // 10**9}B" if count % 10**9 == 0 else f"{count / 10**9:.1f}B"
    if count >= 10**6:
        return f"{count // 10**6}M" if count % 10**6 == 0 else f"{count / 10**6:.2f}M"
    return f"{count / 10**3:.0f}K" if count >= 10**3 else str(count)


def span_text(seconds: float) -> str:
    """A span of time in one unit: `45 seconds`, `About an hour`, `3 weeks`."""
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if int(seconds) == 1 else f"{int(seconds)} seconds"
    if seconds < 3600:
        minutes = int(seconds / 60)
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = math.floor(seconds / 3600 + 0.5)
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    days = hours // 24
    if days < 14:
        return f"{days} days"
    if days < 60:
        return f"{days // 7} weeks"
    if days < 730:
        return f"{days // 30} months"
    return f"{days // 365} years"


def age_text(instant: datetime | None, now: datetime, placeholder: str = "Never") -> str:
    """How long ago or how far ahead an instant is: `2 hours ago`, `4 minutes from now`.

    `placeholder` stands for no instant, and for Go's zero time.
    """
    if instant is None or instant.year <= 1:
        return placeholder
    ahead = (instant - now).total_seconds()
    if ahead <= 0:
        return f"{span_text(-ahead)} ago"
    if ahead // (365 * 86400) > FOREVER_YEARS:
        return "Forever"
    return f"{span_text(ahead)} from now"


def duration_text(nanoseconds: int) -> str:
    """A duration in Go's notation: `1h0m5.5s`, `12.345678ms`, `0s`."""
    if nanoseconds < 0:
        return "-" + duration_text(-nanoseconds)
    if nanoseconds == 0:
        return "0s"
    for unit_ns, unit in ((10**3, "ns"), (10**6, "µs"), (10**9, "ms")):
        if nanoseconds < unit_ns:
            return f"{_fraction(nanoseconds, unit_ns // 10**3)}{unit}"
    minutes, rest_ns = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h" if hours else ""
    text += f"{minutes}m" if hours or minutes else ""
    return f"{text}{_fraction(rest_ns, 10**9)}s"


def _fraction(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = str(rest).zfill(len(str(unit)) - 1).rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


def eta_text(remaining: timedelta) -> str:
    """Time left of a transfer: `12s`, `5m43s`, `3h20m`, `99h+`."""
    seconds = int(remaining.total_seconds() + 0.5)
    if seconds >= 100 * 3600:
        return "99h+"
    if seconds >= 3600:
        return f"{seconds // 3600}h{seconds % 3600 // 60}m"
    return duration_text(seconds * 10**9)
