"""Measured figures: their middle and how far apart their samples are. Pure."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

NOISY: Final = 0.2
"""A spread of so much of the middle says that something else ran on the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing that was measured, once a round."""

    name: str
    """`decode`, `prompt`, `first_token`: stable, for programs."""
    title: str
    streams: int
    unit: str
    """`tokens/s`, `texts/s`, `ms`."""
    samples: tuple[float, ...] = ()

    @property
    def is_time(self) -> bool:
        """Whether less is better."""
        return self.unit == "ms"

    @property
    def key(self) -> str:
        """What tells it from the others of a run."""
        return f"{self.name}_{self.streams}"

    @property
    def median(self) -> float:
        """The middle of the samples, which one slow round does not move."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """From the least sample to the greatest, as a part of the median; 0 for one sample."""
        width = max(self.samples) - min(self.samples)
        return width / self.median if self.median else 0.0

    @property
    def is_noisy(self) -> bool:
        """Whether the samples are too far apart to tell small differences."""
        return self.spread > NOISY

    def speedup_over(self, before: "Figure") -> float:
        """How many times as fast this is: above 1 is better, of times and of rates."""
        now, then = self.median, before.median
        if not now or not then:
            return 0.0
        return then / now if self.is_time else now / then

    def overlaps(self, other: "Figure") -> bool:
        """Whether the samples of both mix, so that they may be the same."""
        return min(self.samples) <= max(other.samples) and min(other.samples) <= max(self.samples)

    def as_json(self) -> dict[str, object]:
        """The figure in a file, and in `--json`."""
        return {
            "name": self.name,
            "streams": self.streams,
            "unit": self.unit,
            "median": round(self.median, 3),
            "low": round(min(self.samples), 3),
            "high": round(max(self.samples), 3),
            "samples": [round(sample, 3) for sample in self.samples],
        }


def figure_from(value: Mapping[str, Any]) -> Figure:
    """A figure out of a file. Raises: ValueError, KeyError, TypeError."""
    samples = tuple(float(sample) for sample in value["samples"])
    if not samples:
        raise ValueError("a figure without samples")
    return Figure(
        name=str(value["name"]),
        title="",
        streams=int(value["streams"]),
        unit=str(value["unit"]),
        samples=samples,
    )
