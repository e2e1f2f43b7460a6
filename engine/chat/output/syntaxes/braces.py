"""Calls in the object notation of Gemma 4 and FunctionGemma.

`<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3}<tool_call|>`: keys are bare, strings
stand between marks that no text contains, all else is JSON.
"""

import re
from dataclasses import dataclass
from typing import Final

from olmkit.engine.chat.output.calls import escaped
from olmkit.engine.chat.output.callsyntax import Context
from olmkit.engine.chat.output.cursor import Malformed, Steps, Unfinished, held_back
from olmkit.engine.chat.output.jsonpieces import MAX_DEPTH, decode_json, encode_json

_HEAD: Final = re.compile(r"\s*call:([^\s{}<>]+)(?=\{)")
_KEY: Final = re.compile(r'\s*("?)([^:{}<>]*?)\1\s*:(?=.)', re.DOTALL)
_SCALAR: Final = re.compile(r'[^,{}\[\]<"]+(?=[,}\]])')
_MAX_NAME: Final = 256
_MAX_SCALAR: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class BraceCalls:
    """One call between two texts."""

    opener: str
    closer: str
    quote: str
    """Stands before and behind a string."""

    @property
    def openers(self) -> tuple[str, ...]:
        """As `CallSyntax.openers`."""
        return (self.opener,)

    @property
    def first_openers(self) -> tuple[str, ...]:
        """As `CallSyntax.first_openers`."""
        return ()

    @property
    def marks(self) -> tuple[str, ...]:
        """As `CallSyntax.marks`."""
        return (self.opener, self.closer, self.quote)

    def parse(self, context: Context) -> Steps[None]:
        """As `CallSyntax.parse`."""
        cursor = context.cursor
        yield from cursor.expect(self.opener)
        name = (yield from cursor.match(_HEAD, most=_MAX_NAME))[1]
        yield context.calls.start(context.calls.offered_for(name))
        yield from self._value(context, 0)
        yield context.calls.finish()
        context.done()
        yield from cursor.skip_space()
        yield from cursor.take(self.closer)
        context.done()

    def _value(self, context: Context, depth: int) -> Steps[None]:
        cursor, write = context.cursor, context.calls.arguments
        if depth > MAX_DEPTH:
            raise Malformed("nested too deeply")
        yield from cursor.skip_space()
        if (yield from cursor.take(self.quote)):
            yield from self._string(context)
        elif (yield from cursor.take("{")):
            yield write("{")
            yield from self._members(context, depth, "}")
        elif (yield from cursor.take("[")):
            yield write("[")
            yield from self._members(context, depth, "]")
        else:
            text = (yield from cursor.match(_SCALAR, most=_MAX_SCALAR))[0].strip()
            yield write(_scalar(text))

    def _members(self, context: Context, depth: int, end: str) -> Steps[None]:
        cursor, write = context.cursor, context.calls.arguments
        is_first = True
        while True:
            yield from cursor.skip_space()
            if (yield from cursor.take(end)):
                yield write(end)
                return
            if cursor.is_at_end:
                raise Unfinished
            if not is_first:
                yield from cursor.expect(",")
                yield write(", ")
            is_first = False
            if end == "}":
                yield from self._key(context)
            yield from self._value(context, depth + 1)

    def _key(self, context: Context) -> Steps[None]:
        cursor, write = context.cursor, context.calls.arguments
        yield from cursor.skip_space()
        if (yield from cursor.take(self.quote)):
            yield from self._string(context)
            yield from cursor.skip_space()
            yield from cursor.expect(":")
            yield write(": ")
            return
        key = (yield from cursor.match(_KEY, most=_MAX_NAME))[2]
        yield write(f"{encode_json(key)}: ")

    def _string(self, context: Context) -> Steps[None]:
        cursor, write = context.cursor, context.calls.arguments
        yield write('"')
        while (end := cursor.text.find(self.quote, cursor.position)) < 0:
            safe = len(cursor.text) - held_back(cursor.text, cursor.position, (self.quote,))
            if safe > cursor.position:
                piece = cursor.text[cursor.position : safe]
                cursor.position = safe
                yield write(escaped(piece))
            yield from cursor.more()
        if end > cursor.position:
            yield write(escaped(cursor.text[cursor.position : end]))
        cursor.position = end + len(self.quote)
        yield write('"')


def _scalar(text: str) -> str:
    """The JSON of a value without marks: a number, a name, or a string that lacks them."""
    try:
        decode_json(text)
    except Malformed:
        return encode_json(text)
    return text
