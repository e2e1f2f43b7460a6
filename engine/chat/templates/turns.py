"""Whose template runs next, where there are more jobs than workers.

Every owner (a model) has one job at a time, and of those that wait the one goes first that has
used the least time lately: whoever's templates take long, or run into their deadline, pays for it
and nobody else. Used from one event loop.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

HALF_LIFE_S: Final = 10.0
"""After so long used time counts half."""
MAX_OWNERS: Final = 256
"""More are not remembered; those that used least are forgotten first."""


class FairTurns:
    """Turns for at most `slots` owners at once."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._running: set[str] = set()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._used: dict[str, tuple[float, float]] = {}
        """Seconds, and when that was reckoned."""

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Wait for a turn of this owner, and have it for the block."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(granted)
        self._grant()
        try:
            await granted
        except BaseException:
            if granted.done() and not granted.cancelled():
                self._end(owner, 0.0)
            else:
                self._forget(owner, granted)
            raise
        began_s = time.monotonic()
        try:
            yield
        finally:
            self._end(owner, time.monotonic() - began_s)

    def _grant(self) -> None:
        while len(self._running) < self._slots:
            free = [owner for owner in self._waiting if owner not in self._running]
            if not free:
                return
            owner = min(free, key=self._used_s)
            granted = self._waiting[owner].popleft()
            if not self._waiting[owner]:
                del self._waiting[owner]
            if not granted.done():
                self._running.add(owner)
                granted.set_result(None)

    def _end(self, owner: str, took_s: float) -> None:
        self._running.discard(owner)
        self._used[owner] = (self._used_s(owner) + took_s, time.monotonic())
        if len(self._used) > MAX_OWNERS:
            del self._used[min(self._used, key=self._used_s)]
        self._grant()

    def _forget(self, owner: str, granted: asyncio.Future[None]) -> None:
        if granted in (queue := self._waiting.get(owner, deque())):
            queue.remove(granted)
            if not queue:
                del self._waiting[owner]

    def _used_s(self, owner: str) -> float:
        used_s, at_s = self._used.get(owner, (0.0, 0.0))
        return float(used_s * 0.5 ** ((time.monotonic() - at_s) / HALF_LIFE_S))
