"""The parts of one blob and the connections that read them; no I/O.

A segment is a range that one connection reads. A stream claims bytes before it writes them, so that
a range can change hands at any time and no byte is ever written by two. All methods are called in
the reactor's thread. Segments begin and end at multiples of the disk's alignment, or at the end of
the blob.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from olmkit.registry.store.directio import ALIGNMENT_BYTES
from olmkit.registry.store.ranges import Ranges

MIB: Final = 1 << 20
STEAL_MIN_BYTES: Final = 256 * 1024
STEAL_MIN_S: Final = 0.5
"""A segment that needs no more than this for the rest is left alone."""
SAMPLES: Final = 50


@dataclass(slots=True, eq=False)
class Segment:
    """A range that one connection reads: [start, end), done up to `position`."""

    start: int
    end: int
    begun_at_s: float
    position: int = -1
    claimed: int = -1
    """End of the bytes that are written or about to be."""
    is_given_up: bool = False
    moved_at_s: float = 0.0
    watched_at_s: float = 0.0
    """Time from which on the rate tells how fast the connection is."""
    skipped_bytes: int = 0
    """Bytes that were read and dropped because they lie before the segment."""
    samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    def __post_init__(self) -> None:
        self.position = self.claimed = self.start
        self.moved_at_s = self.watched_at_s = self.begun_at_s
        self.samples.append((self.begun_at_s, self.start))

    def claim(self, count: int) -> int:
        """Claim up to `count` bytes; returns how many the segment still has."""
        count = max(0, min(count, self.end - self.claimed))
        self.claimed += count
        return count

    def sample(self, now_s: float) -> None:
        """Record the position, for `rate` and `silent_s`."""
        if self._read_bytes != self.samples[-1][1]:
            self.moved_at_s = now_s
        self.samples.append((now_s, self._read_bytes))

    def hold(self, now_s: float) -> None:
        """Forget the rate so far: something else than the connection held the segment up."""
        self.moved_at_s = self.watched_at_s = now_s
        self.samples.clear()
        self.samples.append((now_s, self._read_bytes))

    @property
    def _read_bytes(self) -> int:
        return self.position + self.skipped_bytes

    def rate(self, now_s: float, window_s: float) -> float:
        """Bytes per second within the last `window_s` seconds."""
        since_s = now_s - window_s
        at_s, read_bytes = next((s for s in self.samples if s[0] >= since_s), self.samples[-1])
        return (self._read_bytes - read_bytes) / max(now_s - at_s, 1e-3)

    def silent_s(self, now_s: float) -> float:
        """Seconds since the last byte."""
        return now_s - self.moved_at_s

    def give_up(self) -> None:
        """Leave the bytes that are not claimed to others."""
        self.end = self.claimed
        self.is_given_up = True


class Layout:
    """The bytes of one blob: done, in the hands of a segment, or free."""

    def __init__(self, size_bytes: int, done: Ranges) -> None:
        self.size_bytes = size_bytes
        self.active: list[Segment] = []
        self.is_sequential = False
        """Whether the server sends only the whole blob: then there is one segment at a time."""
        self._done = done.aligned(ALIGNMENT_BYTES, size_bytes)
        self._prefix_end = 0

    @property
    def completed_bytes(self) -> int:
        """Bytes that are written."""
        return self._done.total_bytes + sum(s.position - s.start for s in self.active)

    def done(self) -> Ranges:
        """The ranges that are written, as a copy."""
        return Ranges((*self._done, *((s.start, s.position) for s in self.active)))

    def prefix_end(self) -> int:
        """End of the bytes that are written from byte 0 on without a gap."""
        while True:
            end = self._done.end_of(self._prefix_end)
            for segment in self.active:
                if segment.start <= end < segment.position:
                    end = segment.position
            if end == self._prefix_end:
                return end
            self._prefix_end = end

    def take(self, now_s: float, range_bytes: int) -> Segment | None:
        """A new segment of about `range_bytes` that no other has; None when nothing is left."""
        if self.is_sequential:
            if self.active:
                return None
            start = self._done.prefix_end
            self._done = Ranges([(0, start)])
            return self._begin(start, self.size_bytes, now_s)
        taken = Ranges((*self._done, *((s.start, s.end) for s in self.active)))
        gap = taken.first_gap(self.size_bytes)
        if gap is None:
            return None
        chunk = _aligned(range_bytes)
        if gap[1] - gap[0] < chunk * 3 // 2:
            chunk = gap[1] - gap[0]
        return self._begin(gap[0], min(gap[1], gap[0] + chunk), now_s)

    def _begin(self, start: int, end: int, now_s: float) -> Segment | None:
        if start >= end:
            return None
        segment = Segment(start, end, now_s)
        self.active.append(segment)
        return segment

    def slowest(self, now_s: float) -> tuple[float, Segment] | None:
        """The segment that needs most time for its rest, after that time in seconds."""
        if self.is_sequential:
            return None
        found = [
            ((s.end - s.claimed) / max(s.rate(now_s, 2.0), 1.0), s)
            for s in self.active
            if s.end - s.claimed >= STEAL_MIN_BYTES and now_s - s.begun_at_s >= STEAL_MIN_S
        ]
        found = [entry for entry in found if entry[0] > STEAL_MIN_S]
        return max(found, key=lambda entry: entry[0]) if found else None

    def split(self, victim: Segment, now_s: float) -> Segment | None:
        """A new segment with the second half of what `victim` has left."""
        middle = victim.claimed + _aligned((victim.end - victim.claimed) / 2)
        end, victim.end = victim.end, middle
        return self._begin(middle, end, now_s)

    def finish(self, segment: Segment) -> None:
        """End a segment: what was written counts as done, the rest is free again."""
        self.active.remove(segment)
        self._done.add(segment.start, segment.position)

    def restart_sequentially(self, segment: Segment) -> None:
        """Make `segment`, the only one left, read everything behind the first gap."""
        self._done.add(segment.start, segment.position)
        start = self._done.prefix_end
        self._done = Ranges([(0, start)])
        segment.start = segment.position = segment.claimed = start
        segment.end = self.size_bytes
        segment.hold(segment.begun_at_s)

    def forget_all(self) -> None:
        """Forget all bytes, because together they had the wrong digest."""
        self._done = Ranges()
        self._prefix_end = 0
        for segment in self.active:
            segment.start = segment.position  # nothing is left of it


def _aligned(size_bytes: float) -> int:
    return int(size_bytes) // ALIGNMENT_BYTES * ALIGNMENT_BYTES
