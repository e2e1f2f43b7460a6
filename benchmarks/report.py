"""Rows of a benchmark report: a measured number, its anchor, their ratio, the target."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison, both sides measured in the same run."""

    name: str
    ours: float
    anchor: float
    unit: str
    anchor_name: str
    target: float
    """The ratio `ours / anchor` that must be reached."""
    at_most: bool
    """True: the ratio must not be over the target; False: not under it."""

    @property
    def ratio(self) -> float:
        """Ours over the anchor."""
        return self.ours / self.anchor

    @property
    def is_reached(self) -> bool:
        """Whether the target is met."""
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target

    def text(self) -> str:
        """One line for people."""
        sign = "≤" if self.at_most else "≥"
        verdict = "ok" if self.is_reached else "MISSED"
        return (
            f"{self.name:<34} {self.ours:>10.2f} {self.unit:<5} {self.anchor_name:<22}"
            f" {self.anchor:>10.2f} {self.unit:<5} ratio {self.ratio:6.3f} {sign} {self.target:g}"
            f"  {verdict}"
        )


def median(values: list[float]) -> float:
    """The middle value: machines are shared, a mean would carry their noise."""
    return statistics.median(values)
