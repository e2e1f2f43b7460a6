"""How a runner process ended, in words and as a class of causes."""

import signal
from typing import Final

from olmkit.engine.supervision.interface import ExitInfo, ExitReason

_FATAL: Final = {
    signal.SIGSEGV: "a crash: segmentation fault",
    signal.SIGBUS: "a crash: bus error, as when a mapped model file was cut short",
    signal.SIGILL: "a crash: illegal instruction, as when built for another processor",
    signal.SIGFPE: "a crash: arithmetic error",
    signal.SIGABRT: "it gave up: an assertion failed",
}

_NO_THREADS: Final = "libgomp: Thread creation failed"
"""What GCC's OpenMP says before it ends a process by exit(1)."""


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
    elif status > 0 and _NO_THREADS in log_tail:
        reason = ExitReason.OUT_OF_MEMORY
        text = "got no threads: memory, or their number, is limited"
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
