"""Limits of a connection to the daemon, which uvicorn's own protocol does not have.

The head of a request is limited in bytes and in time. A body has to go on arriving, and the client
has to go on reading the answer, or the connection is closed. The number of requests that wait on
one connection is limited, and so is the number of connections: a new one takes the place of the
one that has been idle for longest. Each refusal is logged, at most one line a minute for each
reason (`engine.logs`).

Source: uvicorn, protocols/http/httptools_impl.py, whose class this one extends; RFC 6585,
section 5 (431); RFC 9110, section 15.5.9 (408).
"""

import asyncio
import functools
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from olmkit.engine.addresses.gatheredwrites import GatheredWrites
from olmkit.engine.addresses.localsocket import is_trusted_peer
from olmkit.engine.api.streams import FLUSH

HEAD_S: Final = 20.0
MAX_UNSENT_BYTES: Final = 64 * 1024
PRIVATE: Final = "olm.private"
"""Key in the scope of a request that came through the private door."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Bounds of the connections to one daemon."""

    head_bytes: int = 64 * 1024
    """Most bytes of the request line and all headers together."""
    head_s: float = HEAD_S
    """Longest time from the start of the connection, or the first byte of a later request, to the
    end of the request's head."""
    connections: int = 512
    pipelined: int = 8
    """Most requests on one connection that wait while an earlier one is answered."""
    stall_s: float = 60.0
    """In this time at least `progress_bytes` of a body, or its end, have to arrive; and a client
    that stopped reading its answer has to go on reading."""
    progress_bytes: int = 16 * 1024


class _Refused(Exception):
    """A request breaks a limit; raised in a callback of the parser, to end the parsing."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class BoundedProtocol(HttpToolsProtocol):
    """One connection, within `ConnectionLimits`."""

    def __init__(
        self,
        *arguments: Any,
        limits: ConnectionLimits,
        private_door: str | None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._limits = limits
        self._private_door = private_door
        self._is_private = False
        self._is_in_head = True
        self._is_in_body = False
        self._heads = 0
        """The number of heads that were parsed completely."""
        self._head_bytes = 0
        self._body_bytes = 0
        """Bytes of the body that came since `_deadline_s` was set last."""
        self._deadline_s = 0.0
        self._receiving: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._is_refused = False
        self.waits_since_s: float | None = None
        """When the connection became idle, by the loop's clock; None while it has a request."""

    # --- the transport's calls --------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection; if there are too many, close an idle one, or refuse this one."""
        is_full = len(self.connections) >= self._limits.connections
        super().connection_made(GatheredWrites(transport, self.loop))
        self.waits_since_s = self.loop.time()
        _keep_unsent_short(transport)
        self._watch(self._limits.head_s)
        sockname = transport.get_extra_info("sockname")
        self._is_private = sockname is not None and sockname == self._private_door
        if self._is_private and not is_trusted_peer(transport.get_extra_info("socket")):
            self._refuse(403, "another user of this machine")
        elif is_full and not self._make_room():
            self._refuse(503, f"over {self._limits.connections} connections at once")

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers of this connection, which is gone."""
        for timer in (self._receiving, self._sending):
            if timer is not None:
                timer.cancel()
        self._receiving = self._sending = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; refuse a request that breaks a limit, and close the connection."""
        self._unset_keepalive_if_required()
        if self._is_refused or self.transport.is_closing():
            return
        if self._receiving is None:  # the first bytes after a rest
            self._watch(self._limits.head_s)
        before = self._is_in_head, self._heads, self._head_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the request is answered as any other; what follows it is not read
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, _Refused):
                self._refuse(cause.status, cause.reason)
            else:
                self._refuse(400, "what is no HTTP/1.1 request")
            return
        if before == (True, self._heads, self._head_bytes):
            self._head_bytes += len(data)  # not even a header was completed: one without end
            if self._head_bytes > self._limits.head_bytes:
                self._refuse(431, f"a head of over {self._limits.head_bytes} bytes")
        elif self._is_in_body:
            self._body_bytes += len(data)
            if self._body_bytes >= self._limits.progress_bytes:
                self._body_bytes = 0
                self._deadline_s = self.loop.time() + self._limits.stall_s

    def pause_writing(self) -> None:
        """The client does not read its answer: start the timer that closes the connection."""
        super().pause_writing()
        if self._sending is None:
            self._sending = self.loop.call_later(self._limits.stall_s, self._is_unread)

    def resume_writing(self) -> None:
        """The client reads again: stop that timer."""
        super().resume_writing()
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for too long, even if an answer is still unread."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    # --- the parser's calls -----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request was parsed."""
        super().on_message_begin()
        scope, transport = cast(dict[str, Any], self.scope), cast(GatheredWrites, self.transport)
        scope[FLUSH] = transport.flush
        if self._is_private:
            scope[PRIVATE] = True
        self._is_in_head, self._is_in_body = True, False
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request line was parsed: count its bytes."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header was parsed: count its bytes."""
        self._count_head(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head was parsed: from now on the body has to go on arriving."""
        self._is_in_head, self._is_in_body = False, True
        self._heads += 1
        self.waits_since_s = None
        self._body_bytes = 0
        self._deadline_s = self.loop.time() + self._limits.stall_s
        super().on_headers_complete()
        if len(self.pipeline) > self._limits.pipelined:
            raise _Refused(400, f"over {self._limits.pipelined} requests waiting on one connection")

    def on_message_complete(self) -> None:
        """The whole request was parsed: nothing more of it can be late."""
        super().on_message_complete()
        self._is_in_head, self._is_in_body = True, False
        self._head_bytes = 0
        self._unwatch()

    def on_response_complete(self) -> None:
        """An answer was sent: without another request the connection is idle now."""
        super().on_response_complete()
        if not self.pipeline:
            self.waits_since_s = self.loop.time()

    # --- clocks -----------------------------------------------------------------------------

    def _count_head(self, size_bytes: int) -> None:
        self._head_bytes += size_bytes
        if self._head_bytes > self._limits.head_bytes:
            raise _Refused(431, f"a head of over {self._limits.head_bytes} bytes")

    def _watch(self, time_s: float) -> None:
        self._deadline_s = self.loop.time() + time_s
        if self._receiving is None:
            self._receiving = self.loop.call_at(self._deadline_s, self._on_deadline)

    def _unwatch(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def _on_deadline(self) -> None:
        self._receiving = None
        left_s = self._deadline_s - self.loop.time()
        if self._is_in_body and not self.transport.is_reading():
            left_s = self._limits.stall_s  # not the client's fault: nobody takes the body
        if left_s > 0:
            self._receiving = self.loop.call_later(left_s, self._on_deadline)
        elif not self._is_in_body:
            self._refuse(408, f"a head that takes over {self._limits.head_s:g} s")
        else:
            log.warning("closed: a body that makes no progress")
            self.transport.abort()

    def _is_unread(self) -> None:
        self._sending = None
        log.warning("closed: an answer that nobody reads")
        self.transport.abort()

    # --- refusing ---------------------------------------------------------------------------

    def _make_room(self) -> bool:
        """Close the connection that has been idle for longest; False if none is idle."""
        others = (one for one in self.connections if isinstance(one, BoundedProtocol))
        waiting = [one for one in others if one is not self and one.waits_since_s is not None]
        if not waiting:
            return False
        oldest = min(waiting, key=lambda one: one.waits_since_s or 0.0)
        log.warning("closed: the connection that waited longest, for there are too many")
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True

    def _refuse(self, status: int, reason: str) -> None:
        """Close the connection, after an error reply unless another answer is being sent."""
        self._is_refused = True
        self._unwatch()
        log.warning(f"refused: {reason}")
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            body = b'{"error":"refused: %s"}' % reason.encode("ascii")
            head = STATUS_LINE[status] + (
                b"content-type: application/json; charset=utf-8\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n" % len(body)
            )
            self.transport.write(head + body)
            self.transport.close()
        else:
            self.transport.abort()


def _keep_unsent_short(transport: asyncio.Transport) -> None:
    """Let the kernel buffer little of what was not sent yet.

    Else megabytes of an answer that nobody reads would look as if they had been read. Bytes on
    their way to a client that reads are not limited.

    Source: tcp(7), TCP_NOTSENT_LOWAT.
    """
    used = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None and used.family != socket.AF_UNIX:
        used.setsockopt(socket.IPPROTO_TCP, option, MAX_UNSENT_BYTES)


def bounded(
    limits: ConnectionLimits, *, private_door: Path | None
) -> Callable[..., asyncio.Protocol]:
    """The factory by which uvicorn makes a protocol for each connection.

    `private_door`: the Unix socket that only this user and root may use, and whose requests carry
    `PRIVATE` in their scope.
    """
    door = None if private_door is None else str(private_door)
    return functools.partial(BoundedProtocol, limits=limits, private_door=door)
