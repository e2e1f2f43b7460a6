import signal

import pytest

from olmkit.engine.oomkills import oom_kills
from olmkit.engine.supervision.interface import ExitReason
from olmkit.engine.supervision.runnerexits import classify


@pytest.mark.parametrize(
    ("status", "oom", "reason", "text"),
    [
        (0, False, ExitReason.EXITED, "ended without being asked to"),
        (3, False, ExitReason.EXITED, "ended with exit status 3"),
        (-signal.SIGKILL, False, ExitReason.SIGNALLED, "was killed by SIGKILL"),
        (
            -signal.SIGKILL,
            True,
            ExitReason.OUT_OF_MEMORY,
            "was killed by the system for lack of memory",
        ),
        (
            -signal.SIGSEGV,
            True,
            ExitReason.SIGNALLED,
            "was killed by SIGSEGV (a crash: segmentation fault)",
        ),
        (-200, False, ExitReason.SIGNALLED, "was killed by signal 200"),
    ],
)
def test_the_end_of_a_runner_is_classified(
    status: int, oom: bool, reason: ExitReason, text: str
) -> None:
    info = classify(status, log_tail="tail", was_closed=False, violation=None, was_oom_killed=oom)
    assert (info.reason, info.description, info.exit_status) == (reason, text, status)
    assert info.log_tail == "tail"


def test_an_end_that_was_asked_for_is_no_death() -> None:
    info = classify(
        -signal.SIGTERM, log_tail="", was_closed=True, violation=None, was_oom_killed=True
    )
    assert info.reason is ExitReason.CLOSED


def test_a_broken_frame_is_the_reason_before_any_status() -> None:
    info = classify(0, log_tail="", was_closed=False, violation="too long", was_oom_killed=False)
    assert info.reason is ExitReason.MISBEHAVED
    assert "too long" in info.description


def test_an_openmp_that_gets_no_threads_lacks_memory() -> None:
    tail = "\nlibgomp: Thread creation failed: Resource temporarily unavailable"
    info = classify(1, log_tail=tail, was_closed=False, violation=None, was_oom_killed=False)
    assert info.reason is ExitReason.OUT_OF_MEMORY
    assert "got no threads" in info.description


def test_oom_kills_are_counted_where_the_kernel_says() -> None:
    assert oom_kills() >= 0
