"""Which way of drawing next tokens is the fastest, told from measured times."""

from dataclasses import dataclass
from typing import Final

from olmkit.engine.runner.protocol import Drawing

SEVERAL_REQUESTS: Final = 4
"""So many are timed beside the drawing for one."""
_GAIN: Final = 0.95
"""Another way than one chain after the other has to be faster by a twentieth."""
_MOST_REQUESTS: Final = 16
"""Where it does not pay from so many requests on, it does not pay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawingTimes:
    """Nanoseconds of each way, right behind a step."""

    chain_ns: int
    """One chain over the whole vocabulary."""
    shortlist_ns: int | None = None
    """One chain over a shortlist; None: there are too few tokens for one."""
    several_shortlist_ns: int | None = None
    """`SEVERAL_REQUESTS` chains over shortlists."""
    several_threads_ns: int | None = None
    """`SEVERAL_REQUESTS` chains over the whole vocabulary in threads; None: there is one core."""

    @property
    def text(self) -> str:
        """A line for the log, in microseconds."""
        said = (
            ("a chain", self.chain_ns),
            ("a shortlist", self.shortlist_ns),
            (f"{SEVERAL_REQUESTS} shortlists", self.several_shortlist_ns),
            (f"{SEVERAL_REQUESTS} chains in threads", self.several_threads_ns),
        )
        return ", ".join(f"{name} {ns // 1000}" for name, ns in said if ns is not None)


def choose(times: DrawingTimes) -> Drawing:
    """From how many requests on each way is used.

    Shortlists are taken to cost a fixed time and the same for each request, chains in threads the
    same for each request.
    """
    several_ns = times.several_threads_ns
    chains_ns = _GAIN * SEVERAL_REQUESTS * times.chain_ns
    has_threads = several_ns is not None and several_ns < chains_ns
    each_in_threads_ns = several_ns / SEVERAL_REQUESTS if several_ns is not None else 0.0

    def others_ns(requests: int) -> float:
        in_threads = has_threads and requests >= SEVERAL_REQUESTS
        return requests * (each_in_threads_ns if in_threads else times.chain_ns)

    shortlist_from = None
    if times.shortlist_ns is not None and times.several_shortlist_ns is not None:
        one_ns, several_ns = times.shortlist_ns, times.several_shortlist_ns
        more_ns = (several_ns - one_ns) / (SEVERAL_REQUESTS - 1)
        paying = (
            requests
            for requests in range(1, _MOST_REQUESTS + 1)
            if one_ns + (requests - 1) * more_ns < _GAIN * others_ns(requests)
        )
        shortlist_from = next(paying, None)
    threads_from = SEVERAL_REQUESTS if has_threads else None
    return Drawing(shortlist_from=shortlist_from, threads_from=threads_from)
