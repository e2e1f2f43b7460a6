"""How often a key may ask: `60/min`, kept by a token bucket.

A key that has been quiet may send as many requests at once as its rate allows in its unit of
time; then they come back one by one. Source of the algorithm: ITU-T I.371, annex A.
"""

import math
import re
from dataclasses import dataclass
from typing import Final

_UNITS_S: Final = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "hour": 3600}
_RATE: Final = re.compile(r"([0-9]{1,9})/([a-z]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many requests in so much time."""

    count: int
    unit: str
    """As it was written: `s`, `min`, `h` and others."""

    @property
    def period_s(self) -> int:
        """The time for `count` requests."""
        return _UNITS_S[self.unit]

    def __str__(self) -> str:
        return f"{self.count}/{self.unit}"


def parse_rate(text: str) -> Rate:
    """The rate that `N/min` names; `s` and `h` do too. Raises: ValueError."""
    match = _RATE.fullmatch(text.strip().lower())
    if match is None or match[2] not in _UNITS_S or not int(match[1]):
        raise ValueError(f"{text[:40]!r} is no rate such as 60/min")
    return Rate(count=int(match[1]), unit=match[2])


class Bucket:
    """What one key has left of its rate."""

    def __init__(self, rate: Rate, *, now_s: float) -> None:
        self.rate = rate
        self._tokens = float(rate.count)
        self._counted_s = now_s

    def take(self, now_s: float) -> int:
        """0 when a request may pass now, which counts; else the seconds until one may."""
        per_s = self.rate.count / self.rate.period_s
        gained = max(0.0, now_s - self._counted_s) * per_s
        self._tokens = min(float(self.rate.count), self._tokens + gained)
        self._counted_s = now_s
        if self._tokens >= 1:
            self._tokens -= 1
            return 0
        return max(1, math.ceil((1 - self._tokens) / per_s))
