"""Whether a runner that owes an answer still gets on.

Silence alone says little: a step over a long prompt takes minutes on a slow machine. What tells is
silence without work: a process that is stopped, or that has used no processor time meanwhile.

Source: proc_pid_stat(5).
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

STOPPED_S: Final = 5.0
"""A process may be stopped so long, as by a debugger or Ctrl-Z, before it counts as dead."""
IDLE_S: Final = 60.0
"""So long without an answer and without work is dead."""
LEAST_WORK_S: Final = 0.05
_POLL_S: Final = 1.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


async def until_stuck(
    pid: int,
    *,
    heard_s: Callable[[], float | None],
    is_loading: Callable[[], bool] = lambda: False,
    stopped_s: float = STOPPED_S,
    idle_s: float = IDLE_S,
) -> str:
    """Returns, when the process no longer gets on, how that shows: "has been stopped for 5 s".

    `heard_s`: when it was heard last, in the loop's time; None: it owes no answer. While
    `is_loading` it may be silent and idle, for a load has a time of its own, but not be stopped.
    Where the system does not tell about processes this never returns.
    """
    loop = asyncio.get_running_loop()
    stopped_since_s: float | None = None
    worked_at_s, worked_s = loop.time(), 0.0
    while True:
        await asyncio.sleep(min(_POLL_S, stopped_s / 2, idle_s / 2))
        now_s, last_s = loop.time(), heard_s()
        if last_s is None and not is_loading():
            stopped_since_s, worked_at_s = None, now_s
            continue
        found = _look(pid)
        if found is None:
            worked_at_s = now_s  # it is gone, which others notice, or not to be looked at
            continue
        state, used_s = found
        stopped_since_s = (stopped_since_s or now_s) if state in "Tt" else None
        if stopped_since_s is not None and now_s - stopped_since_s >= stopped_s:
            return f"has been stopped for {stopped_s:g} s"
        if last_s is None or used_s - worked_s >= LEAST_WORK_S:
            worked_at_s, worked_s = now_s, used_s
        if last_s is not None and now_s - max(worked_at_s, last_s) >= idle_s:
            return f"has neither answered nor worked for {idle_s:g} s"


def _look(pid: int) -> tuple[str, float] | None:
    """State letter and seconds of processor time; None where the system does not tell."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        fields = raw.rpartition(")")[2].split()
        return fields[0], (int(fields[11]) + int(fields[12])) / _TICKS
    except (OSError, ValueError, IndexError):
        return None
