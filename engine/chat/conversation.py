"""A conversation to be rendered, whatever API it came through and whatever template renders it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

Think = bool | str | None
"""Whether the model shall think: a level (`low` to `max`) counts as yes; None: not said."""


_THOUGHT: Final = re.compile(r"\s*<think>.*?(?:</think>\s*|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call of a tool that the model made."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn."""

    role: str
    """Lower case: `system`, `user`, `assistant`, `tool`, or what a template knows besides."""
    content: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_name: str = ""
    """Of a `tool` turn: the tool whose result it is."""
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Where a conversation may begin when it is too long as a whole."""

    turn: int
    """The number of the first turn that stays; system messages before it stay too."""
    dropped: int
    """How many turns that leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """All turns, the tools that the model may call, and whether it shall think."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    """As the request gave them: no keyword of a schema is lost."""
    think: Think = None

    @property
    def prefill(self) -> str:
        """What the answer begins with: a last turn of the assistant is one to go on with."""
        last = self.messages[-1] if self.messages else None
        if last is None or last.role != "assistant" or last.tool_calls:
            return ""
        return last.content

    @property
    def asked(self) -> tuple[Message, ...]:
        """The turns without the one that is only begun."""
        return self.messages[:-1] if self.prefill else self.messages

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """Where the conversation may begin instead when it is too long, ascending.

        At a turn of the user, so that no answer stands without its question, nor the result of a
        tool without its call; the last one is always left.
        """
        found: list[Cut] = []
        systems = 0
        for turn, message in enumerate(self.messages):
            systems += message.role == "system"
            if message.role == "user" and turn > systems:
                found.append(Cut(turn=turn, dropped=turn - systems))
        return tuple(found)

    def since(self, turn: int) -> "Conversation":
        """The same from a turn on, behind all system messages that came before it."""
        system = tuple(one for one in self.messages[:turn] if one.role == "system")
        return replace(self, messages=system + self.messages[turn:])

    def without_old_thoughts(self) -> "Conversation":
        """The same, but what the model thought before the last user's turn is forgotten.

        Thoughts stand between `<think>` and `</think>` at the start of its turns, for clients that
        send answers back as they came.
        """
        last = max((i for i, m in enumerate(self.messages) if m.role == "user"), default=0)
        return replace(
            self,
            messages=tuple(
                replace(message, content=found.string[found.end() :])
                if place < last
                and message.role == "assistant"
                and (found := _THOUGHT.match(message.content))
                else message
                for place, message in enumerate(self.messages)
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What the model gets, and how it came about."""

    text: str
    template: str
    """`jinja`, `go` or `plain`."""
    reason: str
    """Why that one: completes "because …"."""
