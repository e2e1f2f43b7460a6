"""What happened in the daemon lately, for whoever wants to follow it.

A bounded ring: the oldest event goes for a new one. Every reader has its own place in it, so that
one who reads too slowly holds nothing up and is told how many events it has missed.

Used from the event loop. No event holds a prompt or an answer.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

CAPACITY: Final = 1024
"""Events that are kept."""

Fact = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonEvent:
    """One thing that happened."""

    number: int
    """Ascending by one; 0: of what no event is kept."""
    at: datetime
    """Aware, UTC."""
    kind: str
    """`model`, `request` or `events`."""
    action: str
    """`load`, `unload`, `evict`, `die`, `pull`, …"""
    model: str = ""
    """Name of the model; empty: about none."""
    facts: Mapping[str, Fact] = field(default_factory=dict)


class EventLog:
    """The events that are kept, and those who wait for more."""

    def __init__(
        self,
        *,
        capacity: int = CAPACITY,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kept: deque[DaemonEvent] = deque(maxlen=capacity)
        self._clock = clock
        self._last = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._is_closed = False

    def record(self, kind: str, action: str, model: str = "", **facts: Fact) -> None:
        """Something has happened."""
        self._last += 1
        self._kept.append(
            DaemonEvent(
                number=self._last,
                at=self._clock(),
                kind=kind,
                action=action,
                model=model,
                facts=facts,
            )
        )
        self._wake()

    def close(self) -> None:
        """Let all who follow end after what is kept."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def place(self, since: datetime | None = None) -> int:
        """The number of the first kept event from `since` on; None: of the next one to come."""
        later = self._last + 1
        if since is None:
            return later
        return next((one.number for one in self._kept if one.at >= since), later)

    async def read(self, place: int, *, follows: bool = True) -> AsyncGenerator[DaemonEvent, None]:
        """Events from a place on: those that are kept, then others as they happen.

        Without `follows` only the former. Who asks for the next one so late that events have gone
        in between gets one of kind `events`, action `missed`, that says how many.
        """
        next_ = place
        while True:
            if next_ > self._last:
                if not follows or self._is_closed:
                    return
                await self._news()
                continue
            oldest = self._kept[0]
            if next_ < oldest.number:
                missed, next_ = oldest.number - next_, oldest.number
                yield DaemonEvent(
                    number=0, at=oldest.at, kind="events", action="missed", facts={"count": missed}
                )
            else:
                event = self._kept[next_ - oldest.number]
                next_ += 1
                yield event

    async def _news(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
