"""The messages between the daemon and its template worker.

Frames as between daemon and runner (`engine/runner/protocol.py`): a little-endian u32 length,
then MessagePack. One job at a time, one reply each; EOF means that the peer is gone.
"""

from typing import Any, Final

import msgspec

from olmkit.engine.runner.protocol import FRAME_HEADER, ProtocolViolation

MAX_FRAME_BYTES: Final = 128 * 1024 * 1024


class RenderJinja(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Render a Jinja chat template. Answered by `Rendered` or `JobFailed`."""

    template: str
    variables: dict[str, Any]


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a tool, for a Go template."""

    name: str
    arguments: dict[str, Any]
    id: str = ""
    index: int = 0


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation, for a Go template."""

    role: str
    content: str = ""
    thinking: str = ""
    tool_calls: list[Call] = []
    tool_name: str = ""
    tool_call_id: str = ""


class RenderGo(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Render a Go template over a conversation. Answered by `Rendered` or `JobFailed`."""

    template: str
    turns: list[Turn]
    tools: list[dict[str, Any]] | None = None
    think: bool | str | None = None


class InsertGo(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Render a Go template for what is between two texts: `Rendered` or `JobFailed`."""

    template: str
    prompt: str
    suffix: str


class InspectGo(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Parse a Go template and say what it takes account of: `Inspected` or `JobFailed`."""

    template: str


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker's first word: its imports are done and its limits set."""


class Rendered(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """What the template wrote."""

    text: str


class Inspected(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """What a Go template takes account of."""

    tools: bool
    insert: bool
    thinking: bool
    tool_round_trip: bool


class JobFailed(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The template is broken or went over a limit; the message is for the user."""

    message: str


Job = RenderJinja | RenderGo | InsertGo | InspectGo
Reply = Ready | Rendered | Inspected | JobFailed

_encoder = msgspec.msgpack.Encoder()
_job_decoder: msgspec.msgpack.Decoder[Job] = msgspec.msgpack.Decoder(Job)
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def encode_frame(message: Job | Reply) -> bytes:
    """The bytes of one frame.

    Raises:
        ProtocolViolation: over `MAX_FRAME_BYTES`, or a number that MessagePack cannot carry.
    """
    try:
        payload = _encoder.encode(message)
    except (msgspec.MsgspecError, OverflowError, ValueError, TypeError) as error:
        raise ProtocolViolation(str(error)) from error
    if len(payload) > MAX_FRAME_BYTES:
        raise ProtocolViolation(f"{len(payload)} bytes are over {MAX_FRAME_BYTES}")
    return FRAME_HEADER.pack(len(payload)) + payload


def payload_length(header: bytes) -> int:
    """Bytes of the payload behind a frame's header.

    Raises:
        ProtocolViolation: over `MAX_FRAME_BYTES`.
    """
    (length,) = FRAME_HEADER.unpack(header)
    if length > MAX_FRAME_BYTES:
        raise ProtocolViolation(f"a frame of {length} bytes is over {MAX_FRAME_BYTES}")
    return int(length)


def decode_job(payload: bytes) -> Job:
    """The job in a payload. Raises ProtocolViolation when it is none."""
    try:
        return _job_decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise ProtocolViolation(str(error)) from error


def decode_reply(payload: bytes) -> Reply:
    """The reply in a payload. Raises ProtocolViolation when it is none."""
    try:
        return _reply_decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise ProtocolViolation(str(error)) from error
