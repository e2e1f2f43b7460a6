"""Frames between the daemon and its child processes, runners and the render worker alike.

A frame is a little-endian u32 payload length followed by that many bytes of MessagePack. EOF in
either direction means that the peer died. Knows nothing of sockets and of what messages mean.
"""

import os
import struct
from typing import Final, TypeVar

import msgspec

FRAME_HEADER: Final = struct.Struct("<I")
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
"""Upper bound on a payload; a longer one is a protocol violation."""

_Message = TypeVar("_Message")
_encoder = msgspec.msgpack.Encoder()


class ProtocolViolation(Exception):
    """A frame is too long or is no message of its protocol."""


def wire_path(path: str | os.PathLike[str]) -> str:
    """A path as messages carry it: one that is no UTF-8 as a NUL and its bytes, each a character.

    No path holds a NUL, so the two cannot be taken for each other.
    """
    text = os.fspath(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return "\0" + os.fsencode(text).decode("latin-1")
    return text


def path_of(wire: str) -> str:
    """The path that `wire_path` made text of."""
    return os.fsdecode(wire[1:].encode("latin-1")) if wire.startswith("\0") else wire


def printable(path: str) -> str:
    """The path in valid Unicode, for people: bytes of it that are no UTF-8 become `\\xff`.

    Python carries such bytes as lone surrogates (PEP 383), which no text that leaves the process
    may hold.
    """
    try:
        return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character, out of somebody's JSON
        return path.encode("utf-8", "backslashreplace").decode()


def encode_frame(message: msgspec.Struct, *, limit_bytes: int = MAX_FRAME_BYTES) -> bytes:
    """The bytes of one frame.

    Raises:
        ProtocolViolation: a payload over `limit_bytes`, or a value that MessagePack cannot carry.
    """
    try:
        payload = _encoder.encode(message)
    except (msgspec.MsgspecError, OverflowError, ValueError, TypeError) as error:
        raise ProtocolViolation(str(error)) from error
    return FRAME_HEADER.pack(_checked(len(payload), limit_bytes)) + payload


def payload_length(header: bytes) -> int:
    """Bytes of the payload behind a frame's header.

    Raises:
        ProtocolViolation: over `MAX_FRAME_BYTES`.
    """
    (length,) = FRAME_HEADER.unpack(header)
    return _checked(int(length), MAX_FRAME_BYTES)


class FrameBuffer:
    """Takes bytes as they come, and gives the payloads of the frames that are whole."""

    def __init__(self) -> None:
        self._begun = bytearray()
        """Of a frame whose end has not come."""
        self._wanted_bytes = 0
        """How long that must be before there is anything to do."""

    def take(self, data: bytes) -> list[bytes]:
        """The payloads that these bytes complete, in order.

        Raises:
            ProtocolViolation: a frame is over `MAX_FRAME_BYTES`.
        """
        if self._begun:
            self._begun += data
            if len(self._begun) < self._wanted_bytes:
                return []
            data = bytes(self._begun)
            self._begun.clear()
        payloads = []
        start, size_bytes = 0, len(data)
        self._wanted_bytes = FRAME_HEADER.size
        while size_bytes - start >= FRAME_HEADER.size:
            (length,) = FRAME_HEADER.unpack_from(data, start)
            if length > MAX_FRAME_BYTES:
                raise _too_long(length, MAX_FRAME_BYTES)
            body = start + FRAME_HEADER.size
            end = body + length
            if end > size_bytes:
                self._wanted_bytes = end - start
                break
            payloads.append(data[body:end])
            start = end
        if start < size_bytes:
            self._begun += data[start:]
        return payloads


def decode_payload(decoder: msgspec.msgpack.Decoder[_Message], payload: bytes) -> _Message:
    """The message in a payload.

    Raises:
        ProtocolViolation: it is none of the decoder's.
    """
    try:
        return decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise ProtocolViolation(str(error)) from error


def _checked(length: int, limit_bytes: int) -> int:
    if length > limit_bytes:
        raise _too_long(length, limit_bytes)
    return length


def _too_long(length: int, limit_bytes: int) -> ProtocolViolation:
    return ProtocolViolation(f"a frame of {length} bytes is over {limit_bytes}")
