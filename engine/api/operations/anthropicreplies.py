"""The replies of Anthropic's API as `/openapi.json` describes them.

They are put together as JSON where they are made; a test holds real ones to these forms, member by
member. Source: https://docs.anthropic.com/en/api/messages
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from olmkit.engine.api.native.types import Dropped


class TextBlock(msgspec.Struct, kw_only=True, frozen=True, tag="text"):
    """A part of the answer in words."""

    text: str


class ThinkingBlock(msgspec.Struct, kw_only=True, frozen=True, tag="thinking"):
    """A thought."""

    thinking: str
    signature: str
    """To be sent back with the thought; it proves nothing."""


class ToolUseBlock(msgspec.Struct, kw_only=True, frozen=True, tag="tool_use"):
    """A call of a tool."""

    id: str
    name: str
    input: dict[str, Any]


class MessageUsage(msgspec.Struct, kw_only=True, frozen=True):
    """Counts of tokens; those of the prompt that came from the cache stand apart."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


class MessageObject(msgspec.Struct, kw_only=True, frozen=True, tag="message"):
    """The whole answer of /v1/messages."""

    id: str
    role: Literal["assistant"]
    model: str
    content: list[TextBlock | ThinkingBlock | ToolUseBlock]
    stop_reason: str
    """`end_turn`, `max_tokens`, `stop_sequence` or `tool_use`."""
    stop_sequence: str | None
    usage: MessageUsage
    olm: Dropped | UnsetType = UNSET
    """What the request lost on its way into the context; absent: nothing."""


class TokenCount(msgspec.Struct, kw_only=True, frozen=True):
    """The answer of /v1/messages/count_tokens."""

    input_tokens: int
