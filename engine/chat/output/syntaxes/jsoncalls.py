"""Calls as JSON objects that hold the tool's name: Hermes, Qwen, Llama 3, Mistral, Granite, …

`<tool_call>{"name": "f", "arguments": {…}}</tool_call>`, lists of such objects, bare objects.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from olmkit.engine.chat.output.callsyntax import Context
from olmkit.engine.chat.output.cursor import Cursor, Malformed, Steps, Unfinished, Waiting
from olmkit.engine.chat.output.deltas import OutputEvent
from olmkit.engine.chat.output.jsonpieces import decode_json, encode_json, json_value, whole_json

_NAME_KEYS: Final = frozenset(("name", "tool_name", "function", "tool"))
_ARGUMENT_KEYS: Final = frozenset(("arguments", "parameters", "args", "input"))
_ID_KEYS: Final = frozenset(("id", "tool_call_id", "call_id"))
_OTHER_KEYS: Final = frozenset(("type", "index"))


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonCalls:
    """Objects, or a list of them, between two texts."""

    openers: tuple[str, ...] = ()
    """`<tool_call>`; the JSON follows behind white space."""
    first_openers: tuple[str, ...] = ()
    """`{` and `[` belong to the JSON itself; others stand before it."""
    closers: tuple[str, ...] = ()
    """Any of them may end it; none needs to, once the JSON is complete."""
    keys: tuple[str, str] = ("name", "arguments")
    """What the family itself calls the name and the arguments; others are read too."""
    is_list: bool = False
    """The family itself writes a list, also for one call."""
    separators: str = ""
    """Characters that may stand between objects that follow each other without a list."""
    only_offered: bool = False
    """A name that the request does not offer makes it text: for objects without a mark."""

    @property
    def marks(self) -> tuple[str, ...]:
        """As `CallSyntax.marks`."""
        return (*self.openers, *self.closers)

    def parse(self, context: Context) -> Steps[None]:
        """As `CallSyntax.parse`."""
        cursor = context.cursor
        fences = (opener for opener in self.first_openers if opener not in ("{", "["))
        yield from cursor.take_any((*self.openers, *fences))
        yield from cursor.skip_space()
        if (yield from cursor.take("[")):
            yield from self._list(context)
        else:
            yield from self._call(context)
            yield from self._more(context)
        yield from self._end(context)

    def _list(self, context: Context) -> Steps[None]:
        cursor = context.cursor
        while True:
            yield from cursor.skip_space()
            yield from self._call(context)
            yield from cursor.skip_space()
            if (yield from cursor.take("]")):
                break
            if cursor.is_at_end:
                return
            yield from cursor.expect(",")

    def _more(self, context: Context) -> Steps[None]:
        cursor = context.cursor
        while self.separators:
            yield from _skip(cursor, self.separators)
            if not (yield from cursor.starts_with("{")):
                return
            yield from self._call(context)

    def _end(self, context: Context) -> Steps[None]:
        cursor = context.cursor
        context.done()
        before = cursor.position
        yield from cursor.skip_space()
        if not (yield from cursor.take_any(self.closers)):
            cursor.position = before
        context.done()

    def _call(self, context: Context) -> Steps[None]:
        yield from _CallObject(context, only_offered=self.only_offered).parse()
        context.done()


def _skip(cursor: Cursor, characters: str) -> Waiting[None]:
    while True:
        next_one = yield from cursor.peek()
        if not next_one or not (next_one.isspace() or next_one in characters):
            return
        cursor.position += 1


class _CallObject:
    """One object that is a call; its members may come in any order."""

    def __init__(self, context: Context, *, only_offered: bool) -> None:
        self._context = context
        self._cursor = context.cursor
        self._only_offered = only_offered
        self._name = ""
        self._id = ""
        self._early_arguments: str | None = None
        self._has_arguments = False
        self._has_started = False

    def parse(self) -> Steps[None]:
        yield from self._members()
        if not self._name:
            raise Malformed("the call has no name")
        if not self._has_started:
            yield self._start()
        if self._early_arguments is not None:
            yield self._context.calls.arguments(self._early_arguments)
        elif not self._has_arguments:
            yield self._context.calls.arguments("{}")
        yield self._context.calls.finish()

    def _start(self) -> OutputEvent:
        self._has_started = True
        return self._context.calls.start(self._name, self._id)

    def _members(self) -> Steps[None]:
        cursor = self._cursor
        yield from cursor.expect("{")
        yield from cursor.skip_space()
        if (yield from cursor.take("}")):
            return
        while True:
            key = yield from self._key()
            yield from self._member(key)
            yield from cursor.skip_space()
            if (yield from cursor.take("}")):
                return
            yield from cursor.expect(",")
            yield from cursor.skip_space()

    def _key(self) -> Waiting[str]:
        cursor = self._cursor
        if not (yield from cursor.starts_with('"')):
            raise Unfinished if cursor.is_at_end else Malformed("no key")
        key = decode_json((yield from whole_json(cursor)))
        yield from cursor.skip_space()
        yield from cursor.expect(":")
        yield from cursor.skip_space()
        return str(key)

    def _member(self, key: str) -> Steps[None]:
        cursor = self._cursor
        if key in _ARGUMENT_KEYS and not self._has_arguments:
            yield from self._arguments()
        elif key in _NAME_KEYS and not self._name:
            if key == "function" and (yield from cursor.starts_with("{")):
                yield from self._members()
                return
            self._name = yield from self._text()
            calls = self._context.calls
            if self._only_offered and not calls.is_offered(self._name):
                raise Malformed("nobody offers this tool")
        elif key in _ID_KEYS and not self._id:
            raw = yield from whole_json(cursor)
            value = decode_json(raw)
            self._id = value if isinstance(value, str) and len(value) <= 256 else raw[:256]
        elif key in _OTHER_KEYS:
            yield from whole_json(cursor)
        else:
            raise Malformed("a member that no call has")

    def _text(self) -> Waiting[str]:
        value = decode_json((yield from whole_json(self._cursor)))
        if not isinstance(value, str):
            raise Malformed("no name of a tool")
        return value

    def _arguments(self) -> Steps[None]:
        self._has_arguments = True
        if not (yield from self._cursor.starts_with("{")):
            self._early_arguments = _object_in((yield from whole_json(self._cursor)))
        elif not self._name:
            self._early_arguments = yield from whole_json(self._cursor)
        else:
            yield self._start()
            yield from stream_arguments(self._context)


def stream_arguments(context: Context) -> Generator[OutputEvent | None, None, None]:
    """The JSON value at the cursor as pieces of the open call's arguments."""
    for piece in json_value(context.cursor):
        yield None if piece is None else context.calls.arguments(piece)


def _object_in(text: str) -> str:
    """The object that arguments mean which are written otherwise: as a JSON string, or null."""
    value = decode_json(text)
    if value is None or value in ("", []):
        return "{}"
    if isinstance(value, str):
        inner = decode_json(value)
        if isinstance(inner, dict):
            return encode_json(inner)
    raise Malformed("the arguments are no object")
