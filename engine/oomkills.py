"""The kernel's way of making room: whom it shall take first, and whether it took somebody."""

from contextlib import suppress
from pathlib import Path
from typing import Final

from olmkit.engine.cgroups import count_oom_kills

OOM_SCORE: Final = 300
"""The kernel takes a child with this score before the daemon."""


def offer(pid: int) -> None:
    """Make a child of this process the one that the kernel takes first.

    Source: proc(5), /proc/PID/oom_score_adj. Nothing where there is no such file.
    """
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(OOM_SCORE), "ascii")


def oom_kills() -> int:
    """How often the kernel has killed for memory: in this process's group, or in this machine.

    Compared before and after: a rise beside a SIGKILL tells an OOM kill from somebody's
    `kill -9`. The machine's count is taken where the group has none. 0 where the kernel does not
    say. Source: proc(5), /proc/vmstat.
    """
    kills = count_oom_kills()
    if kills is not None:
        return kills
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return 0
    words = (line.split() for line in lines)
    return sum(int(word[1]) for word in words if len(word) == 2 and word[0] == "oom_kill")
