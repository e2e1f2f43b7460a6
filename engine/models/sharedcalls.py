"""Calls that many make at once and one makes for all."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SharedCalls(Generic[K, T]):
    """Results of calls that begin after they are asked for, never before.

    Who asks while a call with the same key is under way waits for the next one, together with all
    others who do: a burst of requests costs two calls, and each result is as fresh as one of its
    own.
    """

    def __init__(self, call: Callable[[K], Awaitable[T]]) -> None:
        self._call = call
        self._under_way: dict[K, asyncio.Task[T]] = {}
        self._next: dict[K, asyncio.Task[T]] = {}

    async def result(self, key: K) -> T:
        """The result of a call that begins from now on. Raises: what the call raises."""
        task = self._next.get(key)
        if task is None:
            task = asyncio.create_task(self._made(key, self._under_way.get(key)))
            task.add_done_callback(_take_error)
            self._next[key] = task
        return await asyncio.shield(task)

    async def _made(self, key: K, before: "asyncio.Task[T] | None") -> T:
        if before is not None:
            await asyncio.wait([before])
        task = self._under_way[key] = self._next.pop(key)
        try:
            return await self._call(key)
        finally:
            if self._under_way.get(key) is task:
                del self._under_way[key]


def _take_error(task: "asyncio.Task[T]") -> None:
    """Nobody may be left who waits for it."""
    if not task.cancelled():
        task.exception()
