"""Calls that many make at once: each result is as fresh as one of the caller's own."""

import asyncio

import pytest

from olmkit.engine.models.sharedcalls import SharedCalls


class Source:
    """A value that changes, read by calls that last until they are let go."""

    def __init__(self) -> None:
        self.value = 0
        self.calls = 0
        self.may_end = asyncio.Event()

    async def read(self, key: str) -> str:
        self.calls += 1
        found = f"{key}{self.value}"
        await self.may_end.wait()
        if self.value < 0:
            raise ValueError(found)
        return found


async def begun(calls: SharedCalls[str, str], key: str) -> "asyncio.Task[str]":
    task = asyncio.create_task(calls.result(key))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


def test_who_comes_during_a_call_waits_for_the_next_one_with_all_others() -> None:
    asyncio.run(_latecomers())


async def _latecomers() -> None:
    source = Source()
    calls = SharedCalls(source.read)
    first = await begun(calls, "a")
    source.value = 1
    later = [await begun(calls, "a") for _ in range(10)]
    other = await begun(calls, "b")
    assert source.calls == 2
    source.may_end.set()
    assert await first == "a0"
    assert await asyncio.gather(*later) == ["a1"] * 10
    assert await other == "b1"
    assert source.calls == 3
    source.value = 2
    assert await calls.result("a") == "a2"


def test_an_error_reaches_all_and_one_who_leaves_takes_nobody_along() -> None:
    asyncio.run(_failure())


async def _failure() -> None:
    source = Source()
    calls = SharedCalls(source.read)
    source.value = -1
    tasks = [await begun(calls, "a") for _ in range(3)]
    tasks[0].cancel()
    source.may_end.set()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in ended] == [asyncio.CancelledError, ValueError, ValueError]
    source.value = 3
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert await calls.result("a") == "a3"
