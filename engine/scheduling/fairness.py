"""Whose turn it is: requests wait in rounds, in each of which every caller has one. Pure.

Each request gets the number of its round when it comes: the round that is served now, or the one
after its caller's latest. Who sends one request is thus behind one of each other caller, however
many those have waiting; requests of one caller keep their order.
Source: Goyal, Vin and Cheng, "Start-time fair queueing", SIGCOMM 1996, with equal weights.
"""

from collections import Counter
from collections.abc import Iterable

from olmkit.engine.scheduling.instances import Waiter


class Turns:
    """The latest round of each caller, as long as anybody waits."""

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}

    def next(self, caller: str, waiting: Iterable[Waiter]) -> int:
        """The round of a new request of the caller; `waiting`: all that wait already."""
        served = min((waiter.turn for waiter in waiting), default=None)
        if served is None:
            self._latest.clear()
        turn = max(served or 1, self._latest.get(caller, 0) + 1)
        self._latest[caller] = turn
        return turn

    def give_back(self, caller: str, waiting: Iterable[Waiter]) -> None:
        """A request of the caller has gone without having been served."""
        kept = [waiter.turn for waiter in waiting if waiter.caller == caller]
        if kept:
            self._latest[caller] = max(kept)
        else:
            self._latest.pop(caller, None)


def first(waiting: Iterable[Waiter]) -> Waiter:
    """The request that is served next."""
    return min(waiting, key=lambda waiter: waiter.order)


def place(waiting: Iterable[Waiter], one: Waiter) -> int:
    """The place of one of them: 1 for who is served next."""
    return 1 + sum(waiter.order < one.order for waiter in waiting)


def greediest(waiting: Iterable[Waiter], newcomer: str) -> Waiter | None:
    """The last request of who has most of them waiting; None: not even two more than `newcomer`.

    Whom to send away where a line is full: the newcomer, or one of those who fill it.
    """
    waiters = list(waiting)
    counts = Counter(waiter.caller for waiter in waiters)
    if not counts:
        return None
    most = max(counts.values())
    if most < counts[newcomer] + 2:
        return None
    return max(
        (waiter for waiter in waiters if counts[waiter.caller] == most),
        key=lambda waiter: waiter.order,
    )
