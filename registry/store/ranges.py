"""Sets of byte ranges, for the parts of a file that are there. Pure."""

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
        """Add the bytes from `start` to `end`, which is excluded."""
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
        """The parts that begin and end at a multiple of `step_bytes`, or at the end of the file."""
        return Ranges(
            (
                -(-low // step_bytes) * step_bytes,
                high if high == size_bytes else high - high % step_bytes,
            )
            for low, high in self._ranges
        )

    @property
    def total_bytes(self) -> int:
        """Number of bytes in the set."""
        return sum(end - start for start, end in self._ranges)

    @property
    def prefix_end(self) -> int:
        """End of the range that begins at byte 0; 0 without one."""
        return self._ranges[0][1] if self._ranges and self._ranges[0][0] == 0 else 0

    def end_of(self, offset: int) -> int:
        """End of the range that holds or ends at `offset`; `offset` itself without one."""
        return next((high for low, high in self._ranges if low <= offset <= high), offset)

    def first_gap(self, size_bytes: int) -> tuple[int, int] | None:
        """The first range below `size_bytes` that is missing; None when all is there."""
        start = self.prefix_end
        if start >= size_bytes:
            return None
        following = (low for low, _ in self._ranges if low > start)
        return start, min(size_bytes, next(following, size_bytes))
