"""GET over HTTP/1.1 with bodies that are read straight into the caller's memory.

An httpx transport on the standard library's http.client: httpx's own copies every byte three times
in Python between the socket and the caller, which is half of the work of a fast download. Other
methods go through httpx's own. Knows no proxies.
"""

import contextlib
import http.client
import io
import re
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import httpx

from olmkit.registry.http.sockets import Sockets, WatchedTransport, shut_down

ITERATED_BYTES: Final = 64 * 1024
HEAD_BYTES: Final = 4096
HEAD_LIMIT_BYTES: Final = 64 * 1024
IDLE_LIMIT: Final = 32
"""Most connections to one origin that are kept for the next request."""
INTERIM_LIMIT: Final = 16
"""Answers of a status below 200 before the one that counts."""
_BODY: Final = "olm_body"

Origin = tuple[str, str, int]
"""Scheme, host and port."""


class _Answer(http.client.HTTPResponse):
    """The response to a request; informational ones before it, with a status below 200, are
    skipped."""

    _interim = 0

    def _read_status(self) -> tuple[str, int, str]:
        self._interim += 1  # http.client asks for each of them here
        if self._interim > INTERIM_LIMIT:
            raise http.client.BadStatusLine("interim answers without end")
        found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
        return found

    def begin(self) -> None:
        super().begin()
        while self.status < 200:  # http.client passes over 100 only
            self.headers = None  # type: ignore[assignment]
            super().begin()


class Body(httpx.SyncByteStream):
    """The body of an answer; one thread reads, any may `abort`."""

    def __init__(
        self,
        request: httpx.Request,
        response: http.client.HTTPResponse,
        connection_socket: socket.socket,
        done: Callable[[bool], None],
    ) -> None:
        self._request = request
        self._response = response
        self._is_kept = not response.will_close
        """Whether the connection stays open after the body."""
        self._head = bytearray()
        """The head of the answer to `ask_again`, as far as it came."""
        self._early = memoryview(b"")
        """The part of the body that came with the head."""
        self._is_unblocked = False
        self._socket = connection_socket
        self._done = done
        self._lock = threading.Lock()
        self._is_closed = False
        """Whether the connection has left this body."""
        self._left = None if response.chunked else response.length
        """Number of bytes to come; None where only the end tells."""
        self._is_over = self._left == 0

    @property
    def is_read(self) -> bool:
        """Whether the whole body was read."""
        return self._is_over

    def unblock(self) -> int | None:
        """Make `readinto` return at once; returns the descriptor to wait for, None where it must
        block."""
        if self._response.chunked:
            return None
        self._socket.settimeout(0)
        # What http.client has read with the head; over TLS its buffer loses that where it waits.
        with contextlib.suppress(OSError):
            self._early = memoryview(self._response.fp.peek())
        self._is_unblocked = True
        return self._socket.fileno()

    def readinto(self, view: memoryview) -> int | None:
        """Read at least one byte into `view`; returns the number of bytes, 0 at the end.

        Returns None when nothing is there and the body must not block.

        Raises:
            httpx.ReadTimeout: nothing came for too long.
            httpx.TransportError: the connection broke, or ended before the body.
        """
        if self._is_over or not view:
            return 0
        with _reading():
            if self._response.chunked:
                block = self._response.read1(min(len(view), ITERATED_BYTES))
                view[: len(block)] = block
                self._is_over = not block
                return len(block)
            room = view if self._left is None else view[: self._left]
            if (count := self._receive(room)) is None:
                return None
        if self._left is not None:
            if not count:
                raise httpx.RemoteProtocolError("the connection ended before the body")
            self._left -= count
        self._is_over = not count or self._left == 0
        return count

    def _receive(self, room: memoryview) -> int | None:
        if self._early:
            count = min(len(self._early), len(room))
            room[:count], self._early = self._early[:count], self._early[count:]
            return count
        if not self._is_unblocked:
            # Not HTTPResponse.readinto, which waits until all of `room` is full.
            return self._response.fp.readinto1(room)
        try:
            return self._socket.recv_into(room)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def ask_again(self, headers: Mapping[str, str]) -> bool:
        """Send the same request with other headers, on the connection of a body that was read.

        False where that is impossible, and the request must be made anew. `answer` gives the
        response.
        """
        if not (self._is_over and self._is_kept and self._is_unblocked):
            return False
        replaced = {name.lower() for name in headers}
        kept = [(k, v) for k, v in self._request.headers.items() if k not in replaced]
        lines = [f"GET {self._request.url.raw_path.decode('ascii')} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in (*kept, *headers.items())]
        with contextlib.suppress(httpx.TransportError), _reading():
            asked = "\r\n".join((*lines, "\r\n")).encode("latin-1")
            self._is_over = False
            is_silent = self._receive(memoryview(bytearray(1))) is None  # else that is no answer
            return is_silent and self._socket.send(asked) == len(asked)
        return False

    def answer(self) -> httpx.Response | None:
        """The answer to `ask_again`, as soon as its head is there; `readinto` reads its body.

        Raises:
            httpx.TransportError: it is no part of a known length, or the connection broke: the
                request is to be made anew.
        """
        view = memoryview(bytearray(HEAD_BYTES))
        with _reading():
            while b"\r\n\r\n" not in self._head:
                if (count := self._receive(view)) is None:
                    return None
                self._head += view[:count]
                if not count or len(self._head) > HEAD_LIMIT_BYTES:
                    raise http.client.BadStatusLine("no answer")
            head, _, early = bytes(self._head).partition(b"\r\n\r\n")
            status, _, fields = head.partition(b"\r\n")
            told = http.client.parse_headers(io.BytesIO(fields + b"\r\n\r\n"))
            length = told.get("content-length", "")
            is_part = status.startswith(b"HTTP/1.1 206") and "transfer-encoding" not in told
            if not is_part or not re.fullmatch(r"[0-9]{1,18}", length):
                raise http.client.BadStatusLine("not what was asked for")
        self._head = bytearray()
        self._early, self._left = memoryview(early), int(length)
        self._is_over = not self._left
        self._is_kept = "close" not in told.get("connection", "").lower()
        return httpx.Response(206, headers=_encoded(told.items()), request=self._request)

    def __iter__(self) -> Iterator[bytes]:
        view = memoryview(bytearray(ITERATED_BYTES))
        while count := self.readinto(view):
            yield bytes(view[:count])

    def abort(self) -> None:
        """Make the thread that reads fail at once."""
        with self._lock:
            if not self._is_closed:
                shut_down(self._socket)

    def close(self) -> None:
        """Give the connection back when all was read, else end it."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._response.close()
        self._done(self._is_over and self._is_kept and not self._early)


class Transport(httpx.BaseTransport):
    """Connections to any number of origins; may be used by several threads."""

    def __init__(
        self, context: ssl.SSLContext, limits: httpx.Limits, sockets: Sockets | None = None
    ) -> None:
        self._context = context
        self._sockets = sockets or Sockets(None)
        self._other = WatchedTransport(self._sockets, verify=context, limits=limits)
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[http.client.HTTPConnection]] = {}
        self._is_closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, its body not yet read.

        Raises:
            httpx.TransportError: no connection, or no answer that is HTTP.
            httpx.UnsupportedProtocol: a redirect led to what is no web address.
        """
        if request.method != "GET":
            return self._other.handle_request(request)
        url = request.url
        default = {"http": 80, "https": 443}.get(url.scheme)
        if default is None:
            raise httpx.UnsupportedProtocol(f"{url.scheme} is no protocol of the web")
        origin = (url.scheme, url.raw_host.decode("ascii"), url.port or default)
        while connection := self._take_idle(origin):
            try:
                return self._ask(connection, origin, request)
            except httpx.TimeoutException:
                raise
            except httpx.TransportError:
                continue  # the server had ended it meanwhile
        return self._ask(self._connect(origin, request), origin, request)

    def close(self) -> None:
        """Close the connections that wait for a next request."""
        self._other.close()
        with self._lock:
            idle, self._idle, self._is_closed = self._idle, {}, True
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _take_idle(self, origin: Origin) -> http.client.HTTPConnection | None:
        while True:
            with self._lock:
                idle = self._idle.get(origin)
                connection = idle.pop() if idle else None
            if connection is None or not _has_input(connection.sock):
                return connection
            connection.close()  # nothing was asked: this is its end

    def _give_back(self, origin: Origin, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            idle = self._idle.setdefault(origin, [])
            if len(idle) < IDLE_LIMIT and not self._is_closed:
                idle.append(connection)
                return
        connection.close()

    def _connect(self, origin: Origin, request: httpx.Request) -> http.client.HTTPConnection:
        scheme, host, port = origin
        limits = request.extensions.get("timeout", {})
        connection = (
            http.client.HTTPSConnection(host, port, context=self._context)
            if scheme == "https"
            else http.client.HTTPConnection(host, port)
        )
        connection.response_class = _Answer
        connection.timeout = limits.get("connect")
        try:
            with contextlib.ExitStack() as stack:
                dial: Callable[..., socket.socket] = socket.create_connection

                def dialled(*arguments: object) -> socket.socket:
                    plain = dial(*arguments)
                    try:
                        stack.enter_context(self._sockets.during_handshake(plain))
                    except httpx.ConnectError:
                        plain.close()
                        raise
                    return plain

                connection._create_connection = dialled  # type: ignore[attr-defined]
                connection.connect()
        except TimeoutError as error:
            raise httpx.ConnectTimeout(str(error)) from error
        except (OSError, ValueError) as error:  # some host names are refused before any look-up
            raise httpx.ConnectError(str(error)) from error
        try:
            self._sockets.add(connection.sock)
        except httpx.ConnectError:
            connection.close()
            raise
        return connection

    def _ask(
        self, connection: http.client.HTTPConnection, origin: Origin, request: httpx.Request
    ) -> httpx.Response:
        used = connection.sock
        used.settimeout(request.extensions.get("timeout", {}).get("read"))

        def done(is_usable: bool) -> None:
            if is_usable:
                self._give_back(origin, connection)
            else:
                connection.close()
                used.close()

        response: http.client.HTTPResponse | None = None
        try:
            with self._sockets.head(), _reading():
                self._sockets.use(used)
                target = request.url.raw_path.decode("ascii")
                connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
                for name, value in request.headers.raw:
                    connection.putheader(name, value)
                connection.endheaders()
                response = connection.getresponse()
        except BaseException:
            if response is not None:
                response.close()
            connection.close()
            raise
        body = Body(request, response, used, done)
        return httpx.Response(
            response.status,
            headers=_encoded(response.getheaders()),
            stream=body,
            extensions={_BODY: body},
        )


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def body_of(response: httpx.Response) -> "Body | Copied":
    """The body of a streamed response, to be read; copied where httpx's transport was used."""
    body = response.extensions.get(_BODY)
    return body if isinstance(body, Body) else Copied(response)


def abort(response: httpx.Response) -> None:
    """End a response from another thread than the one that reads it, which then fails at once."""
    body = response.extensions.get(_BODY)
    if isinstance(body, Body):
        body.abort()
    elif stream := response.extensions.get("network_stream"):
        found = stream.get_extra_info("socket")
        if isinstance(found, socket.socket):
            shut_down(found)


class Copied:
    """A body that httpx reads, with the methods of `Body`."""

    def __init__(self, response: httpx.Response) -> None:
        self._blocks = response.iter_raw()
        self._rest = memoryview(b"")

    is_read = False
    """Always false: httpx does not tell."""

    def unblock(self) -> None:
        """Nothing: httpx blocks."""

    def ask_again(self, headers: Mapping[str, str]) -> bool:
        """Always false."""
        return False

    def answer(self) -> None:
        """Always None."""

    def readinto(self, view: memoryview) -> int:
        """Read at least one byte into `view`; returns the number of bytes, 0 at the end."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _has_input(connection_socket: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection_socket, select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def _reading() -> Iterator[None]:
    """Turn the standard library's exceptions into httpx's."""
    try:
        yield
    except TimeoutError as error:
        raise httpx.ReadTimeout(str(error)) from error
    except OSError as error:
        raise httpx.ReadError(str(error)) from error
    except (http.client.HTTPException, ValueError) as error:
        raise httpx.RemoteProtocolError(str(error) or type(error).__name__) from error
