"""A reactor: one thread that owns all state and waits for sockets, and workers that may block.

Whatever happens is told by a callback in the reactor's thread, so that its state needs no lock.
Workers are daemon threads: one that hangs in a system call does not keep the process alive.
"""

import contextlib
import os
import queue
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

T = TypeVar("T")
Callback = Callable[[], None]

_WAKE_BYTES: Final = 4096


class Reactor:
    """Calls back in the thread that calls `wait`; only `post` may be called in others."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._posted: deque[Callback] = deque()
        self._woken_fd, self._wake_fd = os.pipe()
        os.set_blocking(self._woken_fd, False)
        os.set_blocking(self._wake_fd, False)
        self._lock = threading.Lock()
        """Guards `_wake_fd`, which a thread that ends late must not find closed."""
        self._is_waiting = False
        """Whether the thread waits and nobody has woken it yet."""
        self._is_closed = False
        self._selector.register(self._woken_fd, selectors.EVENT_READ, self._woken)

    def post(self, callback: Callback) -> None:
        """Call `callback` soon in the reactor's thread; never once the reactor is closed."""
        self._posted.append(callback)
        if self._is_waiting:
            self._is_waiting = False
            with self._lock, contextlib.suppress(BlockingIOError):
                if not self._is_closed:
                    os.write(self._wake_fd, b"\0")

    def watch(self, fd: int, callback: Callback) -> None:
        """Call `callback` whenever the descriptor has something to read."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def unwatch(self, fd: int) -> None:
        """Stop watching the descriptor, which must still be open."""
        self._selector.unregister(fd)

    def wait(self, timeout_s: float) -> None:
        """Wait for events for up to `timeout_s` seconds, and make the callbacks for them."""
        self._is_waiting = True
        ready = self._selector.select(0 if self._posted else max(0.0, timeout_s))
        self._is_waiting = False
        self._call_posted()
        for key, _ in ready:
            key.data()
            self._call_posted()

    def _call_posted(self) -> None:
        for _ in range(len(self._posted)):
            self._posted.popleft()()

    def wait_for(self, is_done: Callable[[], bool], limit_s: float) -> None:
        """Handle events until `is_done`, but no longer than `limit_s` seconds."""
        deadline_s = time.monotonic() + limit_s
        while not is_done() and (left_s := deadline_s - time.monotonic()) > 0:
            self.wait(left_s)

    def close(self) -> None:
        """Make no more callbacks, and free the descriptors."""
        with self._lock:
            self._is_closed = True
            os.close(self._wake_fd)
        self._selector.close()
        os.close(self._woken_fd)

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken_fd, _WAKE_BYTES)


class Workers:
    """Up to `limit` threads for one reactor, started when there is work for them."""

    def __init__(self, reactor: Reactor, name: str, limit: int) -> None:
        self._reactor = reactor
        self._name = name
        self._limit = limit
        self._threads: list[threading.Thread] = []
        self._jobs: queue.SimpleQueue[Callback | None] = queue.SimpleQueue()
        self.pending = 0
        """Number of jobs whose callbacks have not been made."""

    def submit(
        self,
        job: Callable[[], T],
        then: Callable[[T], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Run `job` in a thread; call `then` with its result, or `failed` with its exception."""
        self.pending += 1
        if self.pending > len(self._threads) < self._limit:
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            thread.start()
            self._threads.append(thread)
        self._jobs.put(partial(self._do, job, then, failed))

    def end(self) -> None:
        """End the threads, each after the jobs before this call."""
        for _ in self._threads:
            self._jobs.put(None)

    def join(self, deadline_s: float) -> None:
        """Wait for the threads to end, but no longer than until the clock shows `deadline_s`."""
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _work(self) -> None:
        while (run := self._jobs.get()) is not None:
            run()
            del run  # it holds memory until the next one

    def _do(
        self, job: Callable[[], T], then: Callable[[T], None], failed: Callable[[Exception], None]
    ) -> None:
        try:
            done = partial(then, job())
        except Exception as error:
            done = partial(failed, error)
        self._reactor.post(partial(self._done, done))

    def _done(self, callback: Callback) -> None:
        self.pending -= 1
        callback()
