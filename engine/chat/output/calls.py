"""The calls of one answer: numbers, ids, and the events that each consists of."""

import secrets
import string
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from olmkit.engine.chat.conversation import Tool, ToolCall
from olmkit.engine.chat.output.argumentvalues import types_of
from olmkit.engine.chat.output.cursor import Malformed
from olmkit.engine.chat.output.deltas import (
    CallArguments,
    CallBroken,
    CallFinished,
    CallStarted,
    OutputEvent,
)
from olmkit.engine.chat.output.jsonpieces import decode_json, encode_json

MAX_CALLS: Final = 128
"""Of one answer; what comes after is text."""
_MAX_NAME: Final = 256
_NOT_IN_NAMES: Final = frozenset("<>{}[]()\"'`,;=|\\")


def call_id() -> str:
    """An id as Ollama makes them: `call_` and eight letters or digits."""
    return "call_" + _random(string.ascii_lowercase + string.digits, 8)


def nine_letters() -> str:
    """An id as Mistral's templates demand it: nine letters or digits."""
    return _random(string.ascii_letters + string.digits, 9)


def _random(alphabet: str, count: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(count))


class Calls:
    """Makes the events of calls, one call at a time."""

    def __init__(self, tools: Sequence[Tool], new_id: Callable[[], str] = call_id) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._new_id = new_id
        self._count = 0
        self._open: CallStarted | None = None
        self._arguments: list[str] = []

    @property
    def count(self) -> int:
        """Calls that are complete."""
        return self._count

    @property
    def is_open(self) -> bool:
        """A call has begun and not ended."""
        return self._open is not None

    @property
    def offered_names(self) -> Collection[str]:
        """The tools that the request offers."""
        return self._tools.keys()

    def is_offered(self, name: str) -> bool:
        """Whether the request offers this tool; true of any where it offers none."""
        return not self._tools or name in self._tools

    def offered_for(self, name: str) -> str:
        """The offered tool of this name, a namespace before it left out where only that fits."""
        if name in self._tools:
            return name
        bare = name.removeprefix("functions.")
        return bare if bare in self._tools or not self._tools else name

    def parameters(self, name: str) -> Mapping[str, Any]:
        """The schema of a tool's arguments; empty for one that nobody offers."""
        tool = self._tools.get(name)
        return tool.parameters if tool is not None else {}

    def parameter_names(self, name: str) -> frozenset[str]:
        """The arguments that a tool's schema names."""
        properties = self.parameters(name).get("properties")
        return frozenset(properties) if isinstance(properties, Mapping) else frozenset()

    def types(self, name: str, parameter: str) -> frozenset[str]:
        """The JSON types of one argument; empty where the schema does not say."""
        root = self.parameters(name)
        properties = root.get("properties")
        given = properties.get(parameter) if isinstance(properties, Mapping) else None
        return types_of(given, root)

    def start(self, name: str, call_id: str = "") -> CallStarted:
        """Begins a call. Raises: Malformed, the name can be none."""
        if not name or len(name) > _MAX_NAME or not name.isprintable() or " " in name:
            raise Malformed("no name of a tool")
        if _NOT_IN_NAMES & set(name) or self._count >= MAX_CALLS:
            raise Malformed("no name of a tool")
        self._arguments = []
        self._open = CallStarted(index=self._count, id=call_id or self._new_id(), name=name)
        return self._open

    def arguments(self, text: str) -> CallArguments:
        """The next piece of the arguments' JSON."""
        self._arguments.append(text)
        return CallArguments(index=self._count, text=text)

    def finish(self) -> CallFinished:
        """Ends the call. Raises: Malformed, its arguments are no JSON object."""
        assert self._open is not None
        text = "".join(self._arguments)
        value = decode_json(text)
        if not isinstance(value, dict):
            raise Malformed("the arguments are no object")
        call = ToolCall(
            name=self._open.name, arguments=value, id=self._open.id, index=self._open.index
        )
        self._open = None
        self._count += 1
        return CallFinished(call=call, arguments_json=text)

    def give_up(self, raw: str, *, is_cut: bool) -> list[OutputEvent]:
        """Ends a call that was none; nothing where no call is open."""
        if self._open is None:
            return []
        index, self._open = self._open.index, None
        return [CallBroken(index=index, raw=raw, is_cut=is_cut)]


class ObjectWriter:
    """Writes arguments member by member: the pieces of one JSON object."""

    def __init__(self) -> None:
        self._is_empty = True

    def key(self, name: str) -> str:
        """The piece that begins a member."""
        start = "{" if self._is_empty else ", "
        self._is_empty = False
        return f"{start}{encode_json(name)}: "

    def end(self) -> str:
        """The last piece."""
        return "{}" if self._is_empty else "}"


def escaped(text: str) -> str:
    """Text as it stands inside a JSON string."""
    return encode_json(text)[1:-1]
