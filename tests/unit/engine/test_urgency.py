"""Priorities and timeouts: what they may be, and what a deadline ends."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import uvloop

from olmkit.engine.errors import DeadlineExceeded, InvalidRequest
from olmkit.engine.models.options import Options
from olmkit.engine.models.urgency import Urgency
from olmkit.engine.scheduling.deadlines import NO_DEADLINE, Deadline, deadline_after


@pytest.mark.parametrize(
    ("given", "seconds"), [("30s", 30), ("1m30s", 90), ("2.5", 2.5), (4, 4), (0.5, 0.5)]
)
def test_a_timeout_is_a_duration_or_a_number_of_seconds(given: Any, seconds: float) -> None:
    assert Urgency().refined(None, given).timeout_s == seconds


@pytest.mark.parametrize("given", ["", "soon", 0, -1, "-5s", True, [], "8d", 1e9, float("nan")])
def test_what_is_no_time_is_refused(given: Any) -> None:
    with pytest.raises(InvalidRequest, match="timeout must be"):
        Urgency().refined(None, given)


def test_priorities_are_two_words() -> None:
    assert Options.layered({}, {"priority": "batch"}).urgency.is_batch
    assert not Options.layered({}, {"priority": "interactive"}).urgency.is_batch
    with pytest.raises(InvalidRequest, match="priority must be"):
        Options.layered({}, {"priority": "high"})


async def _items() -> AsyncGenerator[int, None]:
    yield 1
    await asyncio.Event().wait()


async def _kept(timeout_s: float | None) -> list[int]:
    came = []
    with pytest.raises(DeadlineExceeded, match=r"timeout of 0\.01 s"):
        async for item in deadline_after(timeout_s, elapsed_s=0).keep_each(_items()):
            came.append(item)
    return came


def test_a_deadline_ends_what_takes_longer_after_what_came_in_time() -> None:
    assert asyncio.run(_kept(0.01)) == [1]


async def _endless(part_ms: float) -> None:
    deadline = Deadline(at_s=asyncio.get_running_loop().time() + part_ms / 1000, timeout_s=0.02)
    await deadline.keep(asyncio.Event().wait())


@pytest.mark.parametrize("part_ms", [3.1, 3.4, 3.6])
def test_a_deadline_within_a_millisecond_is_one_too(part_ms: float) -> None:
    """uvloop, which the daemon runs on, rounds its timers to milliseconds: some come early."""
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        pytest.raises(DeadlineExceeded),
    ):
        runner.run(_endless(part_ms))


async def _timed_out() -> None:
    raise TimeoutError("another")


async def _other() -> None:
    await deadline_after(3600, elapsed_s=0).keep(_timed_out())


def test_a_timeout_within_the_work_is_not_the_deadline() -> None:
    with pytest.raises(TimeoutError, match="another"):
        asyncio.run(_other())


async def _whole() -> list[int]:
    async def items() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    deadline = deadline_after(3600, elapsed_s=0)
    return [await NO_DEADLINE.keep(asyncio.sleep(0, 0))] + [
        item async for item in deadline.keep_each(items())
    ]


def test_what_comes_in_time_comes_whole() -> None:
    assert asyncio.run(_whole()) == [0, 1, 2]
