"""A time limit on all of a command's work: waiting, pulling, loading and answering."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from olmkit.cli.errors import TimedOut, UsageError
from olmkit.engine.durations import parse_duration


def parse_timeout(text: str) -> float | None:
    """Seconds of `--timeout`: a duration such as 90s, or a number of seconds; None for nothing.

    Raises:
        UsageError: neither, or not more than zero.
    """
    if not text:
        return None
    try:
        timeout_s = float(text) if text.replace(".", "", 1).isdecimal() else parse_duration(text)
    except ValueError as error:
        raise UsageError(
            f"invalid value for --timeout: {error}", hint="such as 90s or 5m"
        ) from error
    if not 0 < timeout_s < 10**8:
        raise UsageError(
            "invalid value for --timeout: it is more than zero and at most three years"
        )
    return timeout_s


@contextmanager
def deadline(timeout_s: float | None, *, what: str = "no whole answer") -> Iterator[None]:
    """The block, ended when its time is over; leaving it closes what is open at the daemon.

    `what` is said to be the case then.

    Raises:
        TimedOut: it took longer.
    """
    if timeout_s is None:
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise TimedOut(f"{what} within {timeout_s:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
