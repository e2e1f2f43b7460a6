"""The messages between the daemon and its template worker.

One job at a time, one reply each, in frames (`engine/framing.py`).
"""

from typing import Any

import msgspec

from olmkit.engine.chat.conversation import Message, Think, Tool
from olmkit.engine.framing import decode_payload


class RenderJinja(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Render a Jinja chat template. Answered by `Rendered` or `JobFailed`."""

    template: str
    variables: dict[str, Any]


class RenderGo(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Render a Go template over a conversation. Answered by `Rendered` or `JobFailed`."""

    template: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    think: Think = None


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
    is_refusal: bool = False
    """The template works, and does not take this conversation."""


Job = RenderJinja | RenderGo | InsertGo | InspectGo
Reply = Ready | Rendered | Inspected | JobFailed

_job_decoder: msgspec.msgpack.Decoder[Job] = msgspec.msgpack.Decoder(Job)
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def decode_job(payload: bytes) -> Job:
    """The job in a payload. Raises ProtocolViolation when it is none."""
    return decode_payload(_job_decoder, payload)


def decode_reply(payload: bytes) -> Reply:
    """The reply in a payload. Raises ProtocolViolation when it is none."""
    return decode_payload(_reply_decoder, payload)
