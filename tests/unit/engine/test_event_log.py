"""The daemon's events: a bounded ring that nobody can hold up."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

from olmkit.engine.telemetry.eventlog import DaemonEvent, EventLog

BEGAN = datetime(2026, 11, 28, tzinfo=UTC)


class Clock:
    """A second more at each look."""

    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def actions(log: EventLog, since: datetime | None = None) -> list[str]:
    async def read() -> list[str]:
        return [event.action async for event in log.read(log.place(since), follows=False)]

    return asyncio.run(read())


def test_only_what_comes_later_is_read_unless_a_moment_is_named() -> None:
    log = EventLog(clock=Clock())
    for action in ("load", "unload", "pull"):
        log.record("model", action, "m")
    assert actions(log) == []
    assert actions(log, BEGAN) == ["load", "unload", "pull"]
    assert actions(log, BEGAN + timedelta(seconds=2)) == ["unload", "pull"]
    assert actions(log, BEGAN + timedelta(hours=1)) == []


def test_the_oldest_event_goes_for_a_new_one() -> None:
    log = EventLog(capacity=2, clock=Clock())
    for number in range(5):
        log.record("model", str(number))
    assert actions(log, BEGAN) == ["3", "4"]


async def _slow_reader() -> list[DaemonEvent]:
    log, read = EventLog(capacity=3), list[DaemonEvent]()
    log.record("model", "0")
    place = log.place(datetime.min.replace(tzinfo=UTC))
    async with aclosing(log.read(place)) as events:
        read.append(await anext(events))
        for number in range(1, 8):  # the reader is busy elsewhere meanwhile
            log.record("model", str(number))
        log.close()
        read += [event async for event in events]
    return read


def test_a_slow_reader_is_told_how_many_events_it_missed() -> None:
    read = asyncio.run(_slow_reader())
    assert [event.action for event in read] == ["0", "missed", "5", "6", "7"]
    assert (read[1].kind, read[1].facts) == ("events", {"count": 4})


async def _followers() -> tuple[list[str], list[str]]:
    log = EventLog()

    async def follow() -> list[str]:
        return [event.action async for event in log.read(place)]

    place = log.place()
    both = [asyncio.create_task(follow()) for _ in range(2)]
    await asyncio.sleep(0)
    log.record("model", "load")
    await asyncio.sleep(0)
    log.record("model", "unload")
    log.close()
    first, second = await asyncio.gather(*both)
    return first, second


def test_all_who_follow_get_every_event_and_end_with_the_daemon() -> None:
    assert asyncio.run(_followers()) == (["load", "unload"], ["load", "unload"])
