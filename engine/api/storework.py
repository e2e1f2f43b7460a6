"""Long blocking work of the store (pulls, creates, imports), each in a thread of its own.

Work of the same key is done once for all who ask for it: each sees its progress from then on, and
when the last of them goes away it is cancelled.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Final

from olmkit.engine.telemetry.eventlog import EventLog
from olmkit.registry.cancellation import Cancellation
from olmkit.registry.events import BlobProgress, Event, EventSink

Work = Callable[[EventSink, threading.Event], None]
"""Runs in a thread; tells the sink what happens, ends soon when the event is set, may raise."""

CLOSE_S: Final = 2.0
"""What does not end in this time ends with the process."""
INTERVAL_S: Final = 0.06
"""At most one line this often for the progress of one blob."""


class Transfers:
    """The work that is going on. Used from one event loop."""

    def __init__(self, events: EventLog | None = None) -> None:
        """`events`: where ends of work are recorded."""
        self._events = events or EventLog()
        self._shared: dict[str, _Transfer] = {}
        self._running: set[_Transfer] = set()

    async def follow(
        self, work: Work, *, key: str | None = None, action: str = "", model: str = ""
    ) -> AsyncGenerator[Event, None]:
        """The events of `work`, or of the work of the same key that is going on already.

        Ends when the work does, and raises what it raised. Leaving early gives up one's interest.
        The end of the work is recorded as `action` on `model`, once for all who share it.
        """
        transfer = self._shared.get(key) if key is not None else None
        if transfer is None:
            transfer = _Transfer(work, self._running)
            if action:
                transfer.done.add_done_callback(partial(self._record, action, model))
            if key is not None:
                self._shared[key] = transfer
                transfer.done.add_done_callback(lambda _: self._shared.pop(key, None))
        queue = transfer.join()
        try:
            while (event := await queue.get()) is not None:
                yield event
                await asyncio.sleep(0)  # a backlog must not keep others waiting
            await asyncio.shield(transfer.done)
        finally:
            transfer.leave(queue)
            if transfer.is_abandoned and key is not None:
                self._shared.pop(key, None)

    def _record(self, action: str, model: str, done: asyncio.Future[None]) -> None:
        error = done.exception()
        if error is None:
            self._events.record("model", action, model)
        else:
            self._events.record("model", f"{action}_failed", model, error=str(error))

    async def close(self) -> None:
        """Cancel all work and wait for its threads, at most `CLOSE_S`."""
        for transfer in self._running:
            transfer.cancelled.set()
        if self._running:
            await asyncio.wait([t.done for t in self._running], timeout=CLOSE_S)


class _Transfer:
    """One piece of work in its thread, and those who wait for it."""

    def __init__(self, work: Work, running: "set[_Transfer]") -> None:
        self._loop = asyncio.get_running_loop()
        self._work = work
        self._queues: list[asyncio.Queue[Event | None]] = []
        self._shown: dict[str, Event] = {}
        """The latest event of each line, for those who join late."""
        self._sent_at_s: dict[str, float] = {}
        self.cancelled = Cancellation()
        self.done: asyncio.Future[None] = self._loop.create_future()
        running.add(self)
        self.done.add_done_callback(lambda _: running.discard(self))
        threading.Thread(target=self._run, name="transfer", daemon=True).start()

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits for it."""
        return self.cancelled.is_set()

    def join(self) -> "asyncio.Queue[Event | None]":
        """A queue of events, beginning with the state of things."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        for event in self._shown.values():
            queue.put_nowait(event)
        if self.done.done():
            queue.put_nowait(None)
        self._queues.append(queue)
        return queue

    def leave(self, queue: "asyncio.Queue[Event | None]") -> None:
        """No more interest; the last one to leave cancels the work."""
        self._queues.remove(queue)
        if not self._queues:
            self.cancelled.set()

    def _run(self) -> None:
        try:
            self._work(self._tell, self.cancelled)
        except BaseException as error:  # goes to whoever waits
            self._finish(error)
        else:
            self._finish(None)

    def _tell(self, event: Event) -> None:
        # Decided in the working thread: waking the loop for every block would slow both.
        if not isinstance(event, BlobProgress) or self._is_due(event):
            self._loop.call_soon_threadsafe(self._pass_on, event)

    def _is_due(self, event: BlobProgress) -> bool:
        now_s = time.monotonic()
        is_last = event.completed_bytes == event.total_bytes
        if not is_last and now_s - self._sent_at_s.get(event.label, 0) < INTERVAL_S:
            return False
        self._sent_at_s[event.label] = now_s
        return True

    def _finish(self, error: BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._end, error)
        except RuntimeError:
            pass  # the loop is closed: the daemon is gone

    def _pass_on(self, event: Event) -> None:
        self._shown[event.label if isinstance(event, BlobProgress) else event.text] = event
        for queue in self._queues:
            queue.put_nowait(event)

    def _end(self, error: BaseException | None) -> None:
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
            self.done.exception()  # whoever waits gets it; nobody may wait any more
        for queue in self._queues:
            queue.put_nowait(None)
