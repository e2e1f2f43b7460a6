"""Sets of byte ranges: which parts of a file are there. Pure."""

from collections.abc import Iterable, Iterator


class Ranges:
    """Disjoint half-open ranges in ascending order; touching ones are one."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ranges: list[tuple[int, int]] = []
        for start, end in sorted(ranges):
            if start >= end:
                continue
            if self._ranges and start <= self._ranges[-1][1]:
                low, high = self._ranges[-1]
                self._ranges[-1] = (low, max(high, end))
            else:
                self._ranges.append((start, end))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ranges)

    def add(self, start: int, end: int) -> None:
        """Put in the bytes from `start` up to, without, `end`."""
        if start >= end:
            return
        apart = []
        for low, high in self._ranges:
            if high < start or low > end:
                apart.append((low, high))
            else:
                start, end = min(start, low), max(end, high)
        self._ranges = sorted([*apart, (start, end)])

    def aligned(self, step_bytes: int, size_bytes: int) -> "Ranges":
        """What of it begins and ends at a multiple of `step_bytes`, or at the end of all."""
        return Ranges(
            (
                -(-low // step_bytes) * step_bytes,
                high if high == size_bytes else high - high % step_bytes,
            )
            for low, high in self._ranges
        )

    @property
    def total_bytes(self) -> int:
        """How many bytes are in."""
        return sum(end - start for start, end in self._ranges)

    @property
    def prefix_end(self) -> int:
        """Where the range from byte 0 ends; 0 when byte 0 is out."""
        return self._ranges[0][1] if self._ranges and self._ranges[0][0] == 0 else 0

    def end_of(self, offset: int) -> int:
        """Where the range that `offset` is in, or at the end of, ends; `offset` when it is out."""
        return next((high for low, high in self._ranges if low <= offset <= high), offset)

    def first_gap(self, size_bytes: int) -> tuple[int, int] | None:
        """The first range below `size_bytes` that is out."""
        start = self.prefix_end
        if start >= size_bytes:
            return None
        following = (low for low, _ in self._ranges if low > start)
        return start, min(size_bytes, next(following, size_bytes))
