"""How many threads a decode step uses from moment to moment.

llama.cpp's threads meet at a barrier after every operation and spin while they wait. When another
process takes one of their cores, all wait for the one that does not run: 172 tokens a second become
26, while one thread less keeps 95. The kernel counts how often
it took the processor away, so the governor tries one thread less when that happens in most steps,
keeps whichever was faster, and tries more again now and then.

Knows neither llama.cpp nor requests: it is told how long like steps took.
"""

import os
import resource
import time
from collections.abc import Callable
from typing import Final

WINDOW_STEPS: Final = 6
"""Steps that are judged together."""
PREEMPTED_PART: Final = 0.5
"""Share of preempted steps from which on fewer threads are tried."""
WORTHWHILE_GAIN: Final = 0.95
"""Largest part of its former time that a step may take for a change to stay."""
FIRST_PAUSE_S: Final = 2.0
LAST_PAUSE_S: Final = 30.0
"""Between two tries; doubles with each try that was in vain."""


def preemptions() -> int:
    """Times that the kernel took the processor away from this process's threads so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def runnable_neighbours() -> int:
    """Threads of the whole machine that run or could run now, the caller not counted.

    Source: proc(5), /proc/loadavg, fourth field. 0 where that cannot be read.
    """
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            return int(file.read().split()[3].partition("/")[0]) - 1
    except (OSError, ValueError, IndexError):
        return 0


class ThreadGovernor:
    """Chooses between 1 and `most` threads; starts with `most`."""

    def __init__(
        self,
        most: int,
        *,
        count_preemptions: Callable[[], int] = preemptions,
        count_neighbours: Callable[[], int] = runnable_neighbours,
        cores: int | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threads = most
        self._most = most
        self._cores = max(most, cores or os.cpu_count() or 1)
        self._count_preemptions = count_preemptions
        self._count_neighbours = count_neighbours
        self._clock_s = clock_s
        self._counted = count_preemptions()
        self._shape = 0
        self._steps_ns: list[int] = []
        self._preempted = 0
        self._former: tuple[int, float] | None = None
        """Threads before the change on trial, and their nanoseconds a step."""
        self._pause_s = FIRST_PAUSE_S
        self._quiet_until_s = 0.0

    @property
    def most(self) -> int:
        """As many threads as there may be."""
        return self._most

    def wake(self) -> int:
        """The threads to begin with after a rest: as many as the neighbours leave, at least 1.

        One look may be wrong; steps that follow correct it.
        """
        self._give_up_trial()
        self._counted = self._count_preemptions()
        self.threads = min(self._most, max(1, self._cores - self._count_neighbours()))
        return self.threads

    def record(self, shape: int, elapsed_ns: int) -> int:
        """Record a step; returns the number of threads for the next one.

        Only steps of one `shape` (tokens decoded) are compared with each other.
        """
        counted = self._count_preemptions()
        was_preempted, self._counted = counted > self._counted, counted
        if self._most == 1:
            return self.threads
        if shape != self._shape:
            self._shape = shape
            self._give_up_trial()
        self._steps_ns.append(elapsed_ns)
        self._preempted += was_preempted
        if self._is_hopeless(elapsed_ns) or len(self._steps_ns) >= WINDOW_STEPS:
            self._judge()
        return self.threads

    def _is_hopeless(self, elapsed_ns: int) -> bool:
        """Whether more threads, on trial, are so slow that the window need not be seen out."""
        return (
            self._former is not None
            and self.threads > self._former[0]
            and elapsed_ns > 2 * self._former[1]
        )

    def _judge(self) -> None:
        # The median: one step that also did something else must not decide.
        step_ns = float(sorted(self._steps_ns)[len(self._steps_ns) // 2])
        is_crowded = self._preempted >= PREEMPTED_PART * len(self._steps_ns)
        self._steps_ns, self._preempted = [], 0
        now_s = self._clock_s()
        if self._former is None:
            if now_s < self._quiet_until_s:
                return
            if is_crowded and self.threads > 1:
                self._try(self.threads - 1, step_ns)
            elif self.threads < self._most:
                self._try(self.threads + 1, step_ns)
            return
        threads, former_ns = self._former
        if is_crowded and 1 < self.threads < threads:
            self.threads -= 1  # only a count that leaves the neighbours their cores tells
            return
        self._former = None
        if step_ns <= WORTHWHILE_GAIN * former_ns:
            self._pause_s = FIRST_PAUSE_S
        else:
            self.threads = threads
            self._pause_s = min(LAST_PAUSE_S, 2 * self._pause_s)
        self._quiet_until_s = now_s + self._pause_s

    def _try(self, threads: int, step_ns: float) -> None:
        self._former = (self.threads, step_ns)
        self.threads = threads

    def _give_up_trial(self) -> None:
        self._steps_ns, self._preempted = [], 0
        if self._former is not None:
            self.threads = self._former[0]
            self._former = None
