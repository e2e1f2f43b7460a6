"""How many threads a decode step uses from moment to moment.

llama.cpp's threads meet at a barrier after every operation and spin while they wait. When another
process takes one of their cores, all wait for the one that does not run: 172 tokens a second become
26, while one thread less keeps 95. The kernel counts how often
it took the processor away, so the governor tries one thread less when that happens in most steps
and somebody else wants a core for good, keeps whichever was faster, and tries more again now and
then.

Knows neither llama.cpp nor requests: it is told how long like steps took.
"""

import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_MOST_BYTES: Final = 4096
WINDOW_STEPS: Final = 6
"""Steps that are judged together."""
PREEMPTED_PART: Final = 0.5
"""Share of preempted steps from which on fewer threads are tried."""
WORTHWHILE_GAIN: Final = 0.95
"""Largest part of its former time that a step may take for a change to stay."""
FIRST_PAUSE_S: Final = 2.0
LAST_PAUSE_S: Final = 30.0
"""Between two tries; doubles with each try that was in vain."""
_LOOKS_S: Final = (0, 0.0003, 0.0003, 0.001)
"""Pauses before looks at the neighbours."""
_MORE_LOOKS_S: Final = (0.002, 0.004, 0.008)
"""Pauses before further looks where much depends on them: threads of OpenMP spin for some
milliseconds after they have ended their work.
"""
PATIENCE_PART: Final = 0.05
"""Of the time that a step will take, that looks before it may."""
GLANCE_PAUSE_S: Final = 0.02
"""Between two looks while there are fewer threads than there may be."""
CLEAR_GLANCES: Final = 2
"""So many looks in a row without neighbours bring all threads back."""


def preemptions() -> int:
    """Times that the kernel took the processor away from this process's threads so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def lasting_neighbours(patience_s: float = 0.0) -> int | None:
    """Threads of other processes that want a core for good; None where the system does not tell.

    Clients run for some tenths of a millisecond at a token: whoever is gone at one of several
    looks is no neighbour. They take 1.6 ms at the most, or longer up to `patience_s`.
    """
    fewest: int | None = None
    waited_s = 0.0
    for pause_s in (*_LOOKS_S, *_MORE_LOOKS_S):
        waited_s += pause_s
        if pause_s in _MORE_LOOKS_S and waited_s > patience_s:
            break
        time.sleep(pause_s)
        count = runnable_neighbours()
        if count is None or count == 0:
            return count
        fewest = count if fewest is None else min(fewest, count)
    return fewest


def runnable_neighbours() -> int | None:
    """Threads that run or could run now, but for those of this process and of its daemon.

    Source: proc(5), /proc/loadavg, fourth field, and /proc/PID/task.
    """
    try:
        runnable = int(_read("/proc/loadavg").split()[3].partition(b"/")[0])
        if runnable == 1:
            return 0  # this thread
        own = sum(_runs(f"/proc/self/task/{one}") for one in os.listdir("/proc/self/task"))
    except (OSError, ValueError, IndexError):
        return None
    if not runnable:
        return None
    neighbours = runnable - max(1, own)
    if neighbours > 0:
        parent = f"/proc/{os.getppid()}/task"
        with suppress(OSError):
            neighbours -= sum(_runs(f"{parent}/{one}") for one in os.listdir(parent))
    return max(0, neighbours)


def _runs(task: str) -> bool:
    try:
        return _read(f"{task}/stat").rpartition(b")")[2].split()[0] == b"R"
    except (OSError, IndexError):
        return False  # it has ended


def _read(path: str) -> bytes:
    """All of a small file of the kernel's: one call reads it, without the layers of `open`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _MOST_BYTES)
    finally:
        os.close(descriptor)


class ThreadGovernor:
    """Chooses between 1 and `most` threads; starts with `most`."""

    def __init__(
        self,
        most: int,
        *,
        count_preemptions: Callable[[], int] = preemptions,
        count_neighbours: Callable[[float], int | None] = lasting_neighbours,
        glance: Callable[[], int | None] = runnable_neighbours,
        cores: int | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threads = most
        self._most = most
        self._cores = max(most, cores or os.cpu_count() or 1)
        self._count_preemptions = count_preemptions
        self._count_neighbours = count_neighbours
        self._glance = glance
        self._glanced_s = 0.0
        self._clear_glances = 0
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

    def wake(self, expected_ns: float = 0) -> int:
        """The threads to begin with after a rest: as many as the neighbours leave, at least 1.

        One look may be wrong; steps that follow correct it. A step of a long prompt cannot be
        corrected: the longer it is `expected` to take, the longer are the looks.
        """
        self._give_up_trial()
        self._counted = self._count_preemptions()
        neighbours = self._count_neighbours(PATIENCE_PART * expected_ns / 1e9) or 0
        self.threads = min(self._most, max(1, self._cores - neighbours))
        return self.threads

    def refresh(self) -> int:
        """The threads for a step that is about to begin: all again once nobody needs the others.

        One look at waking may have met a client that was gone a moment later.
        """
        now_s = self._clock_s()
        if self.threads == self._most or now_s - self._glanced_s < GLANCE_PAUSE_S:
            return self.threads
        self._glanced_s = now_s
        self._clear_glances = self._clear_glances + 1 if self._glance() == 0 else 0
        if self._clear_glances >= CLEAR_GLANCES:
            self._give_up_trial()
            self._clear_glances = 0
            self.threads = self._most
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
                # The daemon takes a core for a moment at each token, which is no reason.
                if self._count_neighbours(0) == 0:
                    self._quiet_until_s = now_s + FIRST_PAUSE_S
                else:
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
