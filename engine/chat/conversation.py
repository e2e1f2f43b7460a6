"""A conversation to be rendered, whatever API it came through and whatever template renders it."""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

Think = bool | str | None
"""Whether the model shall think: a level (`low` to `max`) counts as yes; None: not said."""


_THOUGHT: Final = re.compile(r"\s*<think>.*?(?:</think>\s*|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """JSON schema of the arguments, an object; empty for one that takes none, or anything."""
    strict: bool = False
    """Calls of it must keep to the schema; a grammar sees to it."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """As templates get it, `{"type": "function", "function": {…}}`: no keyword is lost."""

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> "Tool":
        """A tool in the form that OpenAI's and Ollama's APIs share.

        Raises:
            ValueError: it is no function, has no name, or parameters that are no object.
        """
        kind = given.get("type")
        if kind is not None and kind != "function":
            raise ValueError(f"tools of type {str(kind)[:80]!r} are not supported, only functions")
        function = given.get("function", given)
        if not isinstance(function, Mapping):
            raise ValueError("a tool's function is no object")
        name = function.get("name")
        parameters = function.get("parameters") or {}
        if not isinstance(name, str) or not name:
            raise ValueError("a tool has no name")
        if not isinstance(parameters, Mapping):
            raise ValueError(f"the parameters of the tool {name} are no object")
        return cls(
            name=name,
            description=str(function.get("description") or ""),
            parameters=parameters,
            strict=function.get("strict") is True,
            given=given,
        )


class ToolChoiceMode(enum.StrEnum):
    """Whether the answer calls tools."""

    AUTO = "auto"
    """As the model likes."""
    NONE = "none"
    """It calls none."""
    REQUIRED = "required"
    """It calls at least one."""
    NAMED = "named"
    """It calls the one of `ToolChoice.name`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """Which tools the answer shall call."""

    mode: ToolChoiceMode = ToolChoiceMode.AUTO
    name: str = ""
    parallel: bool = True
    """Several calls in one answer are allowed."""

    @classmethod
    def parse(cls, given: Any) -> "ToolChoice":
        """A choice in OpenAI's form: `auto`, `none`, `required`, or an object with a name.

        A named function is called once: https://platform.openai.com/docs/guides/function-calling

        Raises:
            ValueError: it is none of these.
        """
        if given is None:
            return cls()
        if isinstance(given, str) and given in ("auto", "none", "required"):
            return cls(mode=ToolChoiceMode(given))
        if isinstance(given, Mapping):
            function = given.get("function", given)
            name = function.get("name") if isinstance(function, Mapping) else None
            if isinstance(name, str) and name:
                return cls(mode=ToolChoiceMode.NAMED, name=name, parallel=False)
        raise ValueError('tool_choice is "auto", "none", "required" or names a function')

    @property
    def is_bound(self) -> bool:
        """The answer has to call a tool."""
        return self.mode in (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call of a tool that the model made."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""
    index: int = 0


class PartKind(enum.StrEnum):
    """What a part of a message holds."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a message that is more than text."""

    kind: PartKind
    text: str = ""
    data: bytes = b""
    """Of an image or sound, in the form of its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn."""

    role: str
    """Lower case: `system`, `user`, `assistant`, `tool`, or what a template knows besides."""
    content: str = ""
    """All text of the turn."""
    parts: tuple[Part, ...] = ()
    """The turn in order, where it holds more than text; `content` is then the text of these."""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_name: str = ""
    """Of a `tool` turn: the tool whose result it is."""
    tool_call_id: str = ""

    @property
    def images(self) -> tuple[Part, ...]:
        """The turn's images, in order."""
        return tuple(part for part in self.parts if part.kind is PartKind.IMAGE)


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
    tools: tuple[Tool, ...] = ()
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
