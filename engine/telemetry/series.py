"""Counters, gauges and histograms, and their text as Prometheus reads it.

The official client library would take 3.4 MB and 19 ms of every daemon, idle or not, and locks
what only one thread uses here; its parser checks this text in the tests.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4)
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, Generic, TypeVar

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OTHER: Final = "other"
"""The label of whatever came when there was no room for labels any more."""
MOST_SERIES: Final = 1000
"""Of one family; a scrape stays within some hundred kilobytes."""

Labels = tuple[str, ...]
Sample = tuple[str, Mapping[str, str], float]
"""Name, labels, value."""
S = TypeVar("S")


class Count:
    """One number that grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1) -> None:
        """Grow by `amount`, which is not negative."""
        self.value += amount


class Distribution:
    """How many values fell into which bucket, and their sum."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """The last one: of values over all bounds."""
        self.sum = 0.0

    def observe(self, value: float, *, count: int = 1) -> None:
        """Count a value, `count` times; a bucket holds its upper bound."""
        self.counts[bisect_left(self._bounds, value)] += count
        self.sum += value * count


class _Family(Generic[S]):
    """All series of one name; each set of label values is looked up once and then kept."""

    kind = ""

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self._meaning = meaning
        self._labels = tuple(labels)
        self._series: dict[Labels, S] = {}

    def of(self, *values: str) -> S:
        """The series with these label values, of which there are never over `MOST_SERIES`."""
        found = self._series.get(values)
        if found is None:
            if len(self._series) >= MOST_SERIES:
                values = (OTHER,) * len(values)
            found = self._series.setdefault(values, self._new())
        return found

    def text(self) -> str:
        """The family's part of a scrape."""
        return _text(self.name, self.kind, self._meaning, self._samples())

    def _new(self) -> S:
        raise NotImplementedError

    def _samples(self) -> Iterator[Sample]:
        raise NotImplementedError

    def _labelled(self) -> Iterator[tuple[dict[str, str], S]]:
        for values, series in self._series.items():
            yield dict(zip(self._labels, values, strict=True)), series


class Counter(_Family[Count]):
    """Numbers that only grow; the name ends with `_total`."""

    kind = "counter"

    def _new(self) -> Count:
        return Count()

    def _samples(self) -> Iterator[Sample]:
        for labels, count in self._labelled():
            yield self.name, labels, count.value


class Histogram(_Family[Distribution]):
    """Distributions over buckets with fixed upper bounds, in ascending order."""

    kind = "histogram"

    def __init__(
        self, name: str, meaning: str, labels: Sequence[str] = (), *, bounds: Sequence[float]
    ) -> None:
        super().__init__(name, meaning, labels)
        self._bounds = tuple(bounds)

    def _new(self) -> Distribution:
        return Distribution(self._bounds)

    def _samples(self) -> Iterator[Sample]:
        ends = [*map(_number, self._bounds), "+Inf"]
        for labels, distribution in self._labelled():
            running = list(accumulate(distribution.counts))
            for end, count in zip(ends, running, strict=True):
                yield f"{self.name}_bucket", {**labels, "le": end}, count
            yield f"{self.name}_sum", labels, distribution.sum
            yield f"{self.name}_count", labels, running[-1]


def gauge_text(
    name: str, meaning: str, values: Iterable[tuple[Mapping[str, str], float]], kind: str = "gauge"
) -> str:
    """A family whose values are read when it is asked for."""
    return _text(name, kind, meaning, ((name, labels, value) for labels, value in values))


def _text(name: str, kind: str, meaning: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
    for full_name, labels, value in samples:
        pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"{full_name}{'{' + pairs + '}' if pairs else ''} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return repr(int(value)) if value == int(value) else repr(value)
