"""The moment until which a request wants its whole answer."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeVar

from olmkit.engine.errors import DeadlineExceeded

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A moment on the event loop's clock, and the time that the request gave itself."""

    at_s: float | None = None
    """None: there is none."""
    timeout_s: float = 0.0

    async def keep(self, work: Awaitable[T]) -> T:
        """What the work gives; it is cancelled at the deadline.

        Raises:
            DeadlineExceeded: it took longer.
        """
        if self.at_s is None:
            return await work
        limit = asyncio.timeout_at(self.at_s)
        try:
            async with limit:
                return await work
        except TimeoutError as error:
            # Not by the clock: uvloop counts whole milliseconds, and its timers may be early.
            if not limit.expired():
                raise  # another time than this one
            raise DeadlineExceeded(timeout_s=self.timeout_s) from error

    async def keep_each(self, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """The items, each waited for until the deadline at the most.

        Raises:
            DeadlineExceeded: one took longer; the items have ended then.
        """
        async with aclosing(items):
            while True:
                try:
                    item = await self.keep(anext(items))
                except StopAsyncIteration:
                    return
                yield item


NO_DEADLINE: Final = Deadline()


def deadline_after(timeout_s: float | None, *, elapsed_s: float) -> Deadline:
    """The deadline of a request that came so long ago; to be called in the event loop."""
    if timeout_s is None:
        return NO_DEADLINE
    at_s = asyncio.get_running_loop().time() + timeout_s - elapsed_s
    return Deadline(at_s=at_s, timeout_s=timeout_s)
