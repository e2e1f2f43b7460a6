"""Shared work in threads: who sees what, and when it is cancelled."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from olmkit.engine.api.storework import Transfers, Work
from olmkit.registry.errors import Cancelled, SourceError
from olmkit.registry.events import BlobProgress, Event, EventSink, Status

WAIT_S = 10.0


def run(body: Callable[[Transfers], Awaitable[None]]) -> None:
    async def main() -> None:
        transfers = Transfers()
        async with asyncio.timeout(WAIT_S):
            await body(transfers)
            await transfers.close()

    asyncio.run(main())
    for thread in threading.enumerate():
        if thread.name == "transfer":
            thread.join(WAIT_S)
            assert not thread.is_alive()


async def texts(transfers: Transfers, work: Work, key: str | None = None) -> list[str]:
    events = [event async for event in transfers.follow(work, key=key)]
    return [event.text for event in events if isinstance(event, Status)]


def test_the_events_come_in_order_and_end_with_the_work() -> None:
    def work(tell: EventSink, cancelled: threading.Event) -> None:
        for number in range(100):
            tell(Status(text=str(number)))

    async def body(transfers: Transfers) -> None:
        assert await texts(transfers, work) == [str(number) for number in range(100)]

    run(body)


def test_a_failure_comes_after_the_events() -> None:
    def work(tell: EventSink, cancelled: threading.Event) -> None:
        tell(Status(text="begun"))
        raise SourceError("no model in it")

    async def body(transfers: Transfers) -> None:
        seen: list[Event] = []
        with pytest.raises(SourceError, match="no model in it"):
            async for event in transfers.follow(work):
                seen.append(event)
        assert seen == [Status(text="begun")]

    run(body)


def test_the_same_key_is_one_work_and_late_comers_see_where_it_stands() -> None:
    began, go_on = threading.Event(), threading.Event()
    runs: list[int] = []

    def work(tell: EventSink, cancelled: threading.Event) -> None:
        runs.append(1)
        tell(Status(text="first"))
        began.set()
        go_on.wait(WAIT_S)
        tell(Status(text="last"))

    async def body(transfers: Transfers) -> None:
        early = asyncio.create_task(texts(transfers, work, "k"))
        await asyncio.to_thread(began.wait, WAIT_S)
        await asyncio.sleep(0.05)
        late = asyncio.create_task(texts(transfers, work, "k"))
        await asyncio.sleep(0.05)
        go_on.set()
        assert await early == await late == ["first", "last"]
        assert len(runs) == 1
        assert await texts(transfers, work, "k") == ["first", "last"]
        assert len(runs) == 2

    run(body)


def endless(stopped: threading.Event) -> Work:
    """Work that ends only when it is told to."""

    def work(tell: EventSink, cancelled: threading.Event) -> None:
        tell(Status(text="begun"))
        assert cancelled.wait(WAIT_S)
        stopped.set()
        raise Cancelled("cancelled")

    return work


def test_the_last_one_to_leave_cancels_the_work() -> None:
    stopped = threading.Event()

    async def body(transfers: Transfers) -> None:
        work = endless(stopped)
        first, second = transfers.follow(work, key="k"), transfers.follow(work, key="k")
        assert await anext(first) == await anext(second) == Status(text="begun")
        await first.aclose()
        assert not await asyncio.to_thread(stopped.wait, 0.1)
        await second.aclose()
        assert await asyncio.to_thread(stopped.wait, WAIT_S)

    run(body)


def test_new_interest_in_cancelled_work_begins_it_anew() -> None:
    first_stopped = threading.Event()

    def work(tell: EventSink, cancelled: threading.Event) -> None:
        tell(Status(text="anew"))

    async def body(transfers: Transfers) -> None:
        first = transfers.follow(endless(first_stopped), key="k")
        await anext(first)
        await first.aclose()
        assert await texts(transfers, work, "k") == ["anew"]

    run(body)


def test_closing_cancels_everything() -> None:
    stopped = threading.Event()

    async def body(transfers: Transfers) -> None:
        follower = asyncio.create_task(texts(transfers, endless(stopped)))
        await asyncio.sleep(0.05)
        await transfers.close()
        assert stopped.is_set()
        with pytest.raises(Cancelled):
            await follower

    run(body)


def test_progress_is_thinned_out_but_its_end_is_always_told() -> None:
    def work(tell: EventSink, cancelled: threading.Event) -> None:
        for number in range(1, 10_001):
            tell(BlobProgress(label="x", completed_bytes=number, total_bytes=10_000))

    async def body(transfers: Transfers) -> None:
        events = [event async for event in transfers.follow(work)]
        assert 1 < len(events) < 1000
        last = events[-1]
        assert isinstance(last, BlobProgress) and last.completed_bytes == 10_000

    run(body)
