"""Several answers to one request, decoded side by side and told as they come."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Event = TypeVar("Event")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Generic[Event]):
    """Events of one of the answers that came together."""

    index: int
    events: Sequence[Event]


async def several(
    makers: "list[Callable[[], AsyncGenerator[Sequence[Event], None]]]",
) -> AsyncGenerator[Choice[Event], None]:
    """The events of all generators, in the order in which they happen.

    Raises:
        Exception: the first failure of any of them; the others are ended.
    """
    if len(makers) == 1:
        async with aclosing(makers[0]()) as batches:
            async for events in batches:
                yield Choice(index=0, events=events)
        return
    queue: asyncio.Queue[Choice[Event] | BaseException | None] = asyncio.Queue(maxsize=64)

    async def run(index: int, make: "Callable[[], AsyncGenerator[Any, None]]") -> None:
        try:
            async with aclosing(make()) as batches:
                async for events in batches:
                    await queue.put(Choice(index=index, events=events))
            await queue.put(None)
        except Exception as error:
            await queue.put(error)

    tasks = [asyncio.create_task(run(index, make)) for index, make in enumerate(makers)]
    try:
        running = len(tasks)
        while running:
            item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
