"""The way in for TLS: connections are accepted, greeted, and handed on once they are encrypted.

Who speaks plain HTTP where TLS is spoken is told so in HTTP. A server of asyncio would close the
connection without a word, and would count none that has not ended its handshake.
"""

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from olmkit import __version__
from olmkit.engine.addresses.certificates import ServedCertificate
from olmkit.registry.http.trust import reason_of

MOST_GREETINGS: Final = 512
"""Connections whose handshake has not ended; another one takes the place of the oldest."""
PAUSE_S: Final = 1.0
"""After a connection could not be accepted, for want of descriptors for instance."""
FAREWELL_S: Final = 2.0
_HANDSHAKE: Final = b"\x16"
"""First byte of a client that speaks TLS (RFC 8446, section 5.1)."""
_BODY: Final = json.dumps(
    {
        "error": "the request came without TLS, and only TLS is spoken here",
        "code": "tls_required",
        "http_status": 400,
        "hint": "begin the address with https://",
    },
    separators=(",", ":"),
).encode()
_NO_TLS: Final = (
    b"HTTP/1.1 400 Bad Request\r\nserver: olm/%s\r\nconnection: close\r\n"
    b"content-type: application/json; charset=utf-8\r\ncontent-length: %d\r\n\r\n%s"
    % (__version__.encode(), len(_BODY), _BODY)
)

log = logging.getLogger(__name__)


class TlsDoor:
    """Accepts connections at a listening socket, and makes a protocol for each that speaks TLS."""

    def __init__(
        self,
        listener: socket.socket,
        certificate: ServedCertificate,
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        greeting_s: float,
        most_greetings: int = MOST_GREETINGS,
    ) -> None:
        """`greeting_s`: how long a client may take until it speaks, and for the handshake."""
        self._listener = listener
        self._certificate = certificate
        self._make_protocol = make_protocol
        self._greeting_s = greeting_s
        self._most = most_greetings
        self._greetings: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._accepting: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Accept connections from now on. Call it in the event loop."""
        self._accepting = asyncio.create_task(self._accept())

    def close(self) -> None:
        """Accept no more of them, and let go of those that were not greeted yet."""
        if self._accepting is not None:
            self._accepting.cancel()
        for greeting in self._greetings:
            greeting.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                log.warning("cannot accept a connection", extra={"reason": reason_of(error)})
                await asyncio.sleep(PAUSE_S)
                continue
            if len(self._greetings) >= self._most:
                log.warning("closed: the handshake that took longest, for there are too many")
                oldest = next(iter(self._greetings))
                del self._greetings[oldest]
                oldest.cancel()
            greeting = loop.create_task(self._greet(accepted))
            self._greetings[greeting] = None
            greeting.add_done_callback(lambda done: self._greetings.pop(done, None))

    async def _greet(self, accepted: socket.socket) -> None:
        """Hand an accepted connection on, or close it."""
        loop, is_handed_on = asyncio.get_running_loop(), False
        try:
            async with asyncio.timeout(self._greeting_s):
                first = await _first_byte(accepted)
            if first == _HANDSHAKE:
                await loop.connect_accepted_socket(
                    self._make_protocol,
                    accepted,
                    ssl=self._certificate.context(),
                    ssl_handshake_timeout=self._greeting_s,
                )
                is_handed_on = True
            elif first:
                log.warning("refused: a request without TLS")
                with suppress(TimeoutError):
                    async with asyncio.timeout(FAREWELL_S):
                        await _say(accepted, _NO_TLS)
        except TimeoutError:
            log.warning("refused: a client that says nothing")
        except ssl.SSLError as error:
            # Also what the client says of our certificate.
            log.warning("refused: a handshake that fails", extra={"reason": reason_of(error)})
        except OSError:
            pass  # it has gone, or did not end the handshake in time
        finally:
            if not is_handed_on:
                accepted.close()


async def _first_byte(accepted: socket.socket) -> bytes:
    """What a client begins with, left where it is; empty where it has gone."""
    loop, has_come = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(accepted, has_come.set)
    try:
        await has_come.wait()
    finally:
        loop.remove_reader(accepted)
    return accepted.recv(1, socket.MSG_PEEK)


async def _say(accepted: socket.socket, answer: bytes) -> None:
    """Send an answer and wait for the end of the request: a reset would take the answer away."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(accepted, answer)
    accepted.shutdown(socket.SHUT_WR)
    while await loop.sock_recv(accepted, 65536):
        pass
