"""Who waits for an answer and how long: `priority` and `timeout`, with one meaning over all APIs.

Options of a request, or its headers `X-Olm-Priority` and `X-Olm-Timeout` where a client cannot
send options; options win.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from olmkit.engine.durations import parse_duration
from olmkit.engine.errors import InvalidRequest

INTERACTIVE: Final = "interactive"
BATCH: Final = "batch"
MOST_S: Final = 7 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Urgency:
    """How urgent a request is."""

    priority: str = ""
    """`interactive`, `batch`, or empty for what is not said."""
    timeout_s: float | None = None
    """From the request's arrival to the end of its answer; None: as long as it takes."""

    @property
    def is_batch(self) -> bool:
        """Whether nobody waits for it."""
        return self.priority == BATCH

    def refined(self, priority: Any, timeout: Any) -> "Urgency":
        """The same, but for what is given: a word, and a duration or number of seconds.

        Raises:
            InvalidRequest: neither word, or no time.
        """
        urgency = self
        if priority is not None:
            urgency = replace(urgency, priority=_priority(priority))
        if timeout is not None:
            urgency = replace(urgency, timeout_s=_timeout_s(timeout))
        return urgency


UNSAID: Final = Urgency()


def _priority(given: Any) -> str:
    if given not in (INTERACTIVE, BATCH):
        raise InvalidRequest(f'priority must be "{INTERACTIVE}" or "{BATCH}"', field="priority")
    return str(given)


def _timeout_s(given: Any) -> float:
    seconds = 0.0
    try:
        if isinstance(given, str):
            is_number = given.replace(".", "", 1).isdecimal() and given.isascii()
            seconds = float(given) if is_number else parse_duration(given)
        elif isinstance(given, int | float) and not isinstance(given, bool):
            seconds = float(given)
    except (ValueError, OverflowError):
        pass
    if not 0 < seconds <= MOST_S:
        raise InvalidRequest(
            'timeout must be a duration such as "30s", or a number of seconds, of a week at most',
            field="timeout",
        )
    return seconds
