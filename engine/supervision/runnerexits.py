"""How a runner process ended, in words and as a class of causes."""

import signal
from pathlib import Path
from typing import Final

from olmkit.engine.planning.cgroups import count_oom_kills
from olmkit.engine.supervision.interface import ExitInfo, ExitReason

_FATAL: Final = {
    signal.SIGSEGV: "a crash: segmentation fault",
    signal.SIGBUS: "a crash: bus error, as when a mapped model file was cut short",
    signal.SIGILL: "a crash: illegal instruction, as when built for another processor",
    signal.SIGFPE: "a crash: arithmetic error",
    signal.SIGABRT: "it gave up: an assertion failed",
}


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


def classify(
    status: int,
    *,
    log_tail: str,
    was_closed: bool,
    violation: str | None,
    was_oom_killed: bool,
) -> ExitInfo:
    """What the exit `status` (negative: a signal) of a runner means.

    `was_closed`: the daemon asked for the end. `violation`: what was wrong with the last frame.
    `was_oom_killed`: the kernel killed for memory while the runner lived.
    """
    if was_closed:
        reason, text = ExitReason.CLOSED, "was closed"
    elif violation is not None:
        reason, text = ExitReason.MISBEHAVED, f"sent what is no message ({violation})"
    elif status == -signal.SIGKILL and was_oom_killed:
        reason, text = ExitReason.OUT_OF_MEMORY, "was killed by the system for lack of memory"
    elif status < 0:
        reason, text = ExitReason.SIGNALLED, f"was killed by {_signal_name(-status)}"
    elif status > 0:
        reason, text = ExitReason.EXITED, f"ended with exit status {status}"
    else:
        reason, text = ExitReason.EXITED, "ended without being asked to"
    return ExitInfo(reason=reason, description=text, exit_status=status, log_tail=log_tail)


def _signal_name(number: int) -> str:
    try:
        known = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    return f"{known.name} ({_FATAL[known]})" if known in _FATAL else known.name
