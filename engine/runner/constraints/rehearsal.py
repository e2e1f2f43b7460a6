"""Work that may take any amount of memory and time, tried in a copy of this process first.

A few hundred bytes of a JSON schema can become an automaton of gigabytes: no bound on the text
tells, and native code that runs out of memory ends its process. So the work is done once in a
fork, which has everything at hand (the tokenizer took a second to build) and bounds of its own. It
is killed when nobody wants the answer any more. What succeeds there is cheap enough to be done
again here.
"""

import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

_PR_SET_PDEATHSIG: Final = 1
_POLL_S: Final = 0.02
_MAX_ANSWER_BYTES: Final = 4096
_PASSED: Final = b"+"


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalLimits:
    """What the fork may take beyond what it has when it is made."""

    memory_bytes: int = 384 << 20
    processor_s: int = 4
    wall_s: float = 20.0
    """Longer than `processor_s`, for a machine whose processors are busy."""


class RehearsalFailed(Exception):
    """The work does not succeed within the limits; its text says why."""


class RehearsalCancelled(Exception):
    """Nobody wants the answer any more."""


def rehearse(
    work: Callable[[], object],
    *,
    is_cancelled: Callable[[], bool],
    limits: RehearsalLimits | None = None,
) -> None:
    """Do `work` in a fork of this process, to see whether it succeeds. Blocks a thread.

    Raises:
        RehearsalFailed: it raised, or went over a limit.
        RehearsalCancelled: `is_cancelled` became true.
    """
    limits = limits or RehearsalLimits()
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        _child(work, theirs, limits)
    os.close(theirs)
    try:
        answer = _answer(ours, child, is_cancelled, time.monotonic() + limits.wall_s)
    finally:
        os.close(ours)
        _kill(child)
        _, status = os.waitpid(child, 0)
    if answer == _PASSED:
        return
    if answer:
        raise RehearsalFailed(answer.decode("utf-8", "replace"))
    by = -os.waitstatus_to_exitcode(status)
    what = "time" if by in (signal.SIGXCPU, signal.SIGKILL) else "memory"
    raise RehearsalFailed(f"it takes too much {what}")


def _answer(pipe: int, child: int, is_cancelled: Callable[[], bool], deadline_s: float) -> bytes:
    """What the child says; nothing when it ended without a word, or was killed for its time."""
    answer = b""
    while time.monotonic() < deadline_s:
        if is_cancelled():
            raise RehearsalCancelled
        if not select.select([pipe], [], [], _POLL_S)[0]:
            continue
        block = os.read(pipe, _MAX_ANSWER_BYTES)
        answer += block
        if not block or len(answer) > _MAX_ANSWER_BYTES:
            if not answer:
                os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # killed by what it ended by
            return answer
    return b""


def _kill(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _child(work: Callable[[], object], pipe: int, limits: RehearsalLimits) -> NoReturn:
    """The fork: bounds first, then the work; nothing of the process that it is a copy of is run."""
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.closerange(3, pipe)
        os.closerange(pipe + 1, os.sysconf("SC_OPEN_MAX"))
        _limit(limits)
        try:
            work()
            answer = _PASSED
        except MemoryError:
            answer = b"it takes too much memory"
        except Exception as error:
            answer = (str(error) or type(error).__name__).encode("utf-8", "replace")
        os.write(pipe, answer[:_MAX_ANSWER_BYTES])
    finally:
        os._exit(0)


def _limit(limits: RehearsalLimits) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.processor_s, limits.processor_s + 1))
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            taken_bytes = int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return  # not Linux: the time alone bounds it
    limit_bytes = taken_bytes + limits.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
