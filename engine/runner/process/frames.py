"""Frames over the socketpair to the daemon, without ever blocking the decode loop."""

import select
import socket
from collections.abc import Sequence
from typing import Final

from olmkit.engine.framing import (
    MAX_FRAME_BYTES,
    FrameBuffer,
    ProtocolViolation,
    encode_frame,
)
from olmkit.engine.runner.protocol import (
    Failed,
    FailureKind,
    Reply,
    Request,
    StepOutput,
    decode_request,
)

_READ_BYTES: Final = 1 << 18
CONGESTED_BYTES: Final = 1 << 20
"""Unsent bytes from which on generation waits for the daemon, which does not keep up."""
_MOST_UNSENT_BYTES: Final = 256 << 20


class PeerGone(Exception):
    """The daemon has closed its end, or does not read at all any more."""


class FrameSocket:
    """The runner's end of the socketpair to the daemon."""

    def __init__(self, peer: socket.socket, *, frame_limit_bytes: int = MAX_FRAME_BYTES) -> None:
        peer.setblocking(False)
        self._frame_limit_bytes = frame_limit_bytes
        self._socket = peer
        self._received = FrameBuffer()
        self._unsent = bytearray()
        self._poll = select.poll()

    @property
    def is_congested(self) -> bool:
        """Whether the daemon is so far behind that generation waits for it."""
        return len(self._unsent) > CONGESTED_BYTES

    def wait(self) -> None:
        """Blocks until there is something to read, or room for what is unsent."""
        events = select.POLLIN | (select.POLLOUT if self._unsent else 0)
        self._poll.register(self._socket, events)
        self._poll.poll()
        self.flush()

    def receive(self) -> list[Request]:
        """The requests that have come in whole; never blocks.

        Raises:
            PeerGone: end of the stream.
            ProtocolViolation: what came is no frame.
        """
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        except ConnectionError as error:
            raise PeerGone(str(error)) from error
        if not data:
            raise PeerGone("end of the stream")
        return [decode_request(payload) for payload in self._received.take(data)]

    def send(self, replies: Sequence[Reply]) -> None:
        """Queues the replies of one step as one frame and sends what the socket takes.

        Raises:
            PeerGone: the daemon is gone, or has let far too much pile up.
        """
        if replies:
            self._unsent += _frames(replies, self._frame_limit_bytes)
            if len(self._unsent) > _MOST_UNSENT_BYTES:
                raise PeerGone("the daemon does not read")
        self.flush()

    def flush(self) -> None:
        """Sends what the socket takes.

        Raises:
            PeerGone: the daemon is gone.
        """
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            except ConnectionError as error:
                raise PeerGone(str(error)) from error
            del self._unsent[:sent]


def _frames(replies: Sequence[Reply], limit_bytes: int) -> bytes:
    """One frame; one a reply where that is too long; a failure where even that is."""
    try:
        return encode_frame(StepOutput(replies=list(replies)), limit_bytes=limit_bytes)
    except ProtocolViolation:
        if len(replies) > 1:
            return b"".join(_frames([reply], limit_bytes) for reply in replies)
        message = "the reply is too long for a frame"
        failed = Failed(id=replies[0].id, kind=FailureKind.INTERNAL, message=message)
        return encode_frame(StepOutput(replies=[failed]))
