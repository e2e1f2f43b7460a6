"""What comes out of the output stage.

Deltas of one kind join to the whole; a call is `CallStarted`, `CallArguments`*, then `CallFinished`
or `CallBroken`. Whoever sends calls whole waits for `CallFinished` and ignores the deltas. Text is
a `msgspec.Struct`, as are all things that are made anew for every token.
"""

from dataclasses import dataclass

import msgspec

from olmkit.engine.chat.conversation import ToolCall


class AnswerDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of the answer's text, never empty."""

    text: str


class ThoughtDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of what the model thinks, never empty."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted:
    """The model calls a tool; its arguments follow."""

    index: int
    """Counts the calls of one answer from 0."""
    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallArguments:
    """A piece of the arguments as JSON text; all pieces of a call join to one object."""

    index: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFinished:
    """A call is complete."""

    call: ToolCall
    arguments_json: str
    """The deltas joined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallBroken:
    """A started call that turned out to be none, or that the answer's end cuts off."""

    index: int
    raw: str
    """What the model wrote; follows as `AnswerDelta` unless `is_cut`."""
    is_cut: bool
    """The token limit ended the answer within the call; there is nothing more to show."""


OutputEvent = AnswerDelta | ThoughtDelta | CallStarted | CallArguments | CallFinished | CallBroken
