"""Calls as a list of Python calls: Llama 3.2 and 4, LFM2, OLMo 3.

`[get_weather(city="Paris"), get_time()]`; values are literals, JSON's names allowed too.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from olmkit.engine.chat.output.argumentvalues import python_value
from olmkit.engine.chat.output.calls import ObjectWriter
from olmkit.engine.chat.output.callsyntax import Context
from olmkit.engine.chat.output.cursor import Cursor, Malformed, Steps, Unfinished, Waiting
from olmkit.engine.chat.output.jsonpieces import MAX_DEPTH, encode_json

_NAME: Final = re.compile(r"([A-Za-z_][\w.\-]*)\s*\(")
_KEY: Final = re.compile(r"([^\W\d]\w*)\s*=(?!=)(?=.)", re.DOTALL)
_MAX_NAME: Final = 256
_STRING: Final = re.compile(r"""'''|\"\"\"|'|\"""")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonCalls:
    """A list of calls, perhaps between two texts, or one call a line (`lines`)."""

    openers: tuple[str, ...] = ()
    first_openers: tuple[str, ...] = ()
    closers: tuple[str, ...] = ()
    lines: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        """As `CallSyntax.marks`."""
        return (*self.openers, *self.closers)

    def parse(self, context: Context) -> Steps[None]:
        """As `CallSyntax.parse`."""
        cursor = context.cursor
        yield from cursor.take_any(self.openers)
        yield from cursor.skip_space()
        in_list = yield from cursor.take("[")
        if not in_list and not self.lines:
            raise Unfinished if cursor.is_at_end else Malformed("no list of calls")
        while True:
            yield from cursor.skip_space()
            yield from self._call(context)
            if (yield from self._ends(context, in_list=in_list)):
                break
        yield from cursor.skip_space()
        yield from cursor.take_any(self.closers)
        context.done()

    def _ends(self, context: Context, *, in_list: bool) -> Waiting[bool]:
        cursor = context.cursor
        yield from cursor.skip_space()
        if in_list:
            if (yield from cursor.take("]")):
                return True
            yield from cursor.expect(",")
            return False
        if cursor.is_at_end:
            return True
        for closer in self.closers:
            if (yield from cursor.starts_with(closer)):
                return True
        return False

    def _call(self, context: Context) -> Steps[None]:
        cursor = context.cursor
        name = (yield from cursor.match(_NAME, most=_MAX_NAME))[1]
        if not context.calls.is_offered(name):
            raise Malformed("nobody offers this tool")
        yield context.calls.start(name)
        writer = ObjectWriter()
        while True:
            yield from cursor.skip_space()
            if (yield from cursor.take(")")):
                break
            key = (yield from cursor.match(_KEY, most=_MAX_NAME))[1]
            value = yield from _literal(cursor)
            yield context.calls.arguments(writer.key(key) + encode_json(value))
            yield from cursor.skip_space()
            if not (yield from cursor.starts_with(")")):
                yield from cursor.expect(",")
        yield context.calls.arguments(writer.end())
        yield context.calls.finish()
        context.done()


def _literal(cursor: Cursor) -> Waiting[Any]:
    """The value up to a comma or bracket that is not its own."""
    start, depth = cursor.position, 0
    while True:
        character = yield from cursor.peek()
        if not character:
            raise Unfinished
        if character in "'\"":
            yield from _string(cursor)
            continue
        if depth == 0 and character in ",)]}":
            break
        depth += (character in "([{") - (character in ")]}")
        if depth > MAX_DEPTH:
            raise Malformed("nested too deeply")
        cursor.position += 1
    text = cursor.text[start : cursor.position].strip()
    value = python_value(text)
    if value is None and text not in ("None", "null"):
        raise Malformed("no literal")
    return value


def _string(cursor: Cursor) -> Waiting[None]:
    quote = _STRING.match((yield from cursor.peek(3)))
    assert quote is not None
    cursor.position += len(quote[0])
    while not (yield from cursor.take(quote[0])):
        character = yield from cursor.peek()
        if not character:
            raise Unfinished
        cursor.position += 2 if character == "\\" else 1
