"""The number of connections of a transfer, which of them are too slow, and when to try again.

Pure: the clock is an argument.
"""

import random
import statistics
from collections import deque
from collections.abc import Sequence
from typing import Final

from olmkit.registry.download.segments import MIB, STEAL_MIN_BYTES, Segment
from olmkit.registry.errors import RemoteError, RemoteRejected
from olmkit.registry.http.transferlimits import TransferLimits

FIRST_STREAMS: Final = 8
MOST_STREAMS: Final = 24
GAIN: Final = 1.15
"""Factor by which the rate has to grow when the number of connections is doubled."""
DOUBTS: Final = 1
"""Number of times that it may grow less: new connections begin slowly."""
SLOW_SHARE: Final = 0.15
"""Share of the median rate; a connection that stays below it for `slow_s` is replaced."""
RAMP_LEAST_S: Final = 0.1
RAMP_MOST_S: Final = 2.0
RAMP_ANSWERS: Final = 4.0
"""Time for which a number of connections is tried, in response times and within the two limits."""
FAST_RATE: Final = 200e6
"""Bytes per second from which on the page cache slows a download down."""
RANGE_ANSWERS: Final = 20
"""Length of a requested range, in response times."""
RANGES_BYTES: Final = 48 * MIB
"""Length that the ranges of all connections may have together and still be hashed from memory."""
BACKLOG_BYTES: Final = 4 * MIB
"""Bytes waiting for the hash from which on more connections do not help."""
RATES_KEPT: Final = 30
TRIES: Final = 6
LONGEST_PAUSE_S: Final = 10.0
LAG_SHARE: Final = 0.01
LAG_LEAST_S: Final = 0.005
LAG_MOST_S: Final = 0.05
PROGRESS_BYTES: Final = MIB
"""New bytes after which a failure counts as the first one again."""


class Pace:
    """The number of connections, doubled for as long as that brings more bytes."""

    def __init__(self, limits: TransferLimits, now_s: float) -> None:
        self._limits = limits
        self._begun_at_s = now_s
        self._most = max(1, limits.streams or MOST_STREAMS)
        self.streams = min(FIRST_STREAMS, self._most)
        self._best_rate = 0.0
        self._is_growing = True
        self._doubts = 0
        self._rates: deque[float] = deque(maxlen=RATES_KEPT)
        """Rates of the segments that ended last."""
        self._answer_s = RAMP_MOST_S
        self._rate = 0.0

    @property
    def is_slow(self) -> bool:
        """Whether the rate is so low that the page cache costs nothing, and is used for loading."""
        return 0 < self._rate < FAST_RATE

    @property
    def ramp_s(self) -> float:
        """Seconds for which one number of connections is tried."""
        return min(max(self._answer_s * RAMP_ANSWERS, RAMP_LEAST_S), RAMP_MOST_S)

    def lag_s(self, now_s: float) -> float:
        """Seconds that bytes may wait to be written, and then the journal to record them.

        So a kill costs the bytes of twice this time, which is some 2 percent of the download.
        """
        return min(max((now_s - self._begun_at_s) * LAG_SHARE, LAG_LEAST_S), LAG_MOST_S)

    def answered(self, elapsed_s: float) -> None:
        """Record how long a server took to begin its response."""
        self._answer_s = min(self._answer_s, elapsed_s)

    @property
    def range_bytes(self) -> int:
        """Bytes that one request asks for."""
        rate = self._rate / self.streams
        wanted = int(rate * self._answer_s * RANGE_ANSWERS)
        least = max(self._limits.range_min_bytes, RANGES_BYTES // self.streams)
        return min(max(wanted, least), self._limits.range_max_bytes)

    @property
    def fits_in_memory(self) -> bool:
        """Whether the ranges of all connections are hashed from memory, not read again."""
        return not self.is_slow and self.range_bytes * self.streams <= RANGES_BYTES

    def measured(self, rate: float, backlog_bytes: int) -> None:
        """Record the rate of all connections together, and decide whether there should be more.

        `rate` is in bytes per second; `backlog_bytes` wait for the hash.
        """
        self._rate = max(self._rate, rate)
        if not self._is_growing or rate <= 0 or backlog_bytes > BACKLOG_BYTES:
            return
        if rate >= self._best_rate * GAIN:
            self._best_rate, self._doubts = rate, 0
            self._is_growing = self.streams < self._most
            self.streams = min(self.streams * 2, self._most)
        elif self._doubts < DOUBTS:
            self._doubts += 1
        else:
            self._is_growing = False
            self.streams = max(self.streams // 2, min(FIRST_STREAMS, self._most))

    def ended(self, segment: Segment, now_s: float) -> None:
        """Record the rate of a segment that ended."""
        count = segment.position - segment.start
        if count >= STEAL_MIN_BYTES and not segment.is_given_up:
            self._rates.append(count / max(now_s - segment.begun_at_s, 1e-3))

    def too_slow(self, segments: Sequence[Segment], now_s: float) -> list[Segment]:
        """The segments whose connections have stalled, or are far slower than usual."""
        slow_s = self._limits.slow_s
        rates = [s.rate(now_s, slow_s) for s in segments if now_s - s.watched_at_s > 1.0]
        rates += self._rates
        least = statistics.median(rates) * SLOW_SHARE if len(rates) >= 3 else 0.0
        return [
            s
            for s in segments
            if self.is_silent(s, now_s)
            or (now_s - s.watched_at_s >= slow_s and s.rate(now_s, slow_s) < least)
        ]

    def is_silent(self, segment: Segment, now_s: float) -> bool:
        """Whether a segment's connection has brought nothing for too long."""
        return segment.silent_s(now_s) >= self._limits.silence_s


class Retries:
    """The failures of one blob, and the pause after them."""

    def __init__(self, limits: TransferLimits) -> None:
        self._limits = limits
        self.paused_until_s = 0.0
        self.failed_at_bytes = 0
        self._failures = 0

    def failed(self, error: RemoteError, completed_bytes: int, now_s: float) -> None:
        """Begin a pause after a failure.

        Failures within a pause do not count: they are the same trouble on other connections.

        Raises:
            RemoteError: `error`, after too many without progress.
        """
        if now_s < self.paused_until_s:
            return
        if completed_bytes - self.failed_at_bytes >= PROGRESS_BYTES:
            self._failures = 0
        self._failures += 1
        self.failed_at_bytes = completed_bytes
        if self._failures >= TRIES:
            raise error
        self.paused_until_s = now_s + pause_s(self._failures, error, self._limits)


def pause_s(failures: int, error: RemoteError, limits: TransferLimits) -> float:
    """Seconds to wait after so many failures: longer each time, or what the server asked for."""
    own_s = limits.first_pause_s * float(1 << (failures - 1)) * random.uniform(0.7, 1.3)
    told_s = error.retry_after_s if isinstance(error, RemoteRejected) else None
    return max(min(own_s, LONGEST_PAUSE_S), told_s or 0.0)
