"""The sockets of one transfer: closed when it is cancelled, and when a head takes too long.

A server that drips its head, or answers `100 Continue` for ever, never lets a read time out. So
each thread that waits for a head has a deadline, and one thread of the process shuts the socket
of those that are late; whoever reads it fails at once. Cancelling shuts all sockets the same way.
"""

import contextlib
import heapq
import itertools
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpcore
import httpx

from olmkit.registry.cancellation import Cancellation

HEAD_S: Final = 60.0
"""From the request until its answer's head is whole, interim answers included."""


class Sockets:
    """The open sockets of one client; may be used by any thread."""

    def __init__(self, cancelled: threading.Event | None, *, head_s: float = HEAD_S) -> None:
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._head_s = head_s
        self._used = threading.local()
        self._is_over = False
        if isinstance(cancelled, Cancellation):
            cancelled.call(self.shut_all)

    def add(self, one: socket.socket) -> None:
        """Take note of a socket that was opened, and is used by this thread now.

        Raises:
            httpx.ConnectError: the transfer was cancelled.
        """
        with self._lock:
            self._open.add(one)
            is_over = self._is_over
        if is_over:
            shut_down(one)
            raise httpx.ConnectError("the transfer was cancelled")
        self.use(one)

    @contextmanager
    def during_handshake(self, plain: socket.socket) -> Iterator[None]:
        """The block turns a socket into one of TLS, which takes the plain one's place.

        Until that is done nobody has it, so a second descriptor stands for it.
        """
        with plain.dup() as second:
            self.add(second)
            yield

    def use(self, one: socket.socket, *, is_writing: bool = False) -> None:
        """This thread waits for that socket from now on; while it sends, no answer is due."""
        waiting: _Waiting | None = getattr(self._used, "waiting", None)
        if waiting is not None:
            waiting.socket = one
            if is_writing:
                waiting.deadline_s = time.monotonic() + self._head_s

    def shut_all(self) -> None:
        """Make every thread that reads or writes one of them fail at once, and all later ones."""
        with self._lock:
            self._is_over, sockets = True, list(self._open)
        for one in sockets:
            shut_down(one)

    @contextmanager
    def head(self) -> Iterator[None]:
        """The block asks something and waits for the head of the answer.

        Raises:
            httpx.ReadTimeout: it was not whole in time.
        """
        waiting = self._used.waiting = _Waiting(time.monotonic() + self._head_s)
        _watch.add(waiting)
        late = httpx.ReadTimeout("the head of the answer takes too long")
        try:
            yield
        except (httpx.TransportError, httpcore.NetworkError, OSError) as error:
            if waiting.is_late:
                raise late from error
            raise
        finally:
            self._used.waiting = None
            waiting.is_over = True
        if waiting.is_late:  # a head that was cut off can look like a whole one
            raise late


class _Waiting:
    """One wait for a head."""

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.socket: socket.socket | None = None
        self.is_over = False
        self.is_late = False


class _Watch:
    """Shuts the sockets of those that are late. Its thread ends when nobody waits."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: list[tuple[float, int, _Waiting]] = []
        self._numbers = itertools.count()
        self._is_running = False

    def add(self, waiting: _Waiting) -> None:
        with self._condition:
            self._push(waiting)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="heads", daemon=True).start()

    def _push(self, waiting: _Waiting) -> None:
        heapq.heappush(self._waiting, (waiting.deadline_s, next(self._numbers), waiting))

    def _run(self) -> None:
        with self._condition:
            while self._waiting:
                deadline_s, _, waiting = self._waiting[0]
                if waiting.is_over or waiting.deadline_s > deadline_s:
                    heapq.heappop(self._waiting)
                    if not waiting.is_over:
                        self._push(waiting)
                elif (left_s := deadline_s - time.monotonic()) > 0:
                    self._condition.wait(min(left_s, 1.0))
                else:
                    heapq.heappop(self._waiting)
                    waiting.is_late = True
                    if waiting.socket is not None:
                        shut_down(waiting.socket)
            self._is_running = False


_watch: Final = _Watch()


def shut_down(one: socket.socket) -> None:
    """End a connection that another thread may be reading, which then fails at once."""
    with contextlib.suppress(OSError):
        # Not the TLS socket's own method, which takes the reader's state away.
        socket.socket.shutdown(one, socket.SHUT_RDWR)


class WatchedTransport(httpx.HTTPTransport):
    """httpx's own transport, with its sockets known and its heads on time."""

    def __init__(self, sockets: Sockets, **options: Any) -> None:
        super().__init__(**options)
        self._sockets = sockets
        # httpx has no parameter for httpcore's: https://www.encode.io/httpcore/network-backends/
        pool: Any = self._pool
        pool._network_backend = _Backend(sockets)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, its body not yet read. Raises: httpx.TransportError."""
        response: httpx.Response | None = None
        try:
            with self._sockets.head():
                response = super().handle_request(request)
        except httpx.ReadTimeout:
            if response is not None:
                response.close()
            raise
        return response


class _Backend(httpcore.SyncBackend):
    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets

    def connect_tcp(self, *arguments: Any, **options: Any) -> httpcore.NetworkStream:
        return _watched(super().connect_tcp(*arguments, **options), self._sockets)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, sockets: Sockets) -> None:
        self._stream = stream
        self._sockets = sockets
        self._socket: socket.socket = stream.get_extra_info("socket")

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._sockets.use(self._socket)
        return self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._sockets.use(self._socket, is_writing=True)
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, *arguments: Any, **options: Any) -> httpcore.NetworkStream:
        with self._sockets.during_handshake(self._socket):
            secured = self._stream.start_tls(*arguments, **options)
        return _watched(secured, self._sockets)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _watched(stream: httpcore.NetworkStream, sockets: Sockets) -> _Stream:
    """The stream, its socket known. Raises: httpx.ConnectError, the transfer was cancelled."""
    try:
        sockets.add(stream.get_extra_info("socket"))
    except httpx.ConnectError:
        stream.close()
        raise
    return _Stream(stream, sockets)
