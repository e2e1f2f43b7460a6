"""Calls as elements with a child for each parameter: Qwen3-Coder, GLM, DeepSeek, MiniMax, Kimi K3.

`<function=f><parameter=city>Paris</parameter></function>`. Values are bare text: what is a string
and what is JSON says the tool's schema, or an attribute.
"""

import html
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from olmkit.engine.chat.output.argumentvalues import json_of
from olmkit.engine.chat.output.calls import ObjectWriter, escaped
from olmkit.engine.chat.output.callsyntax import Context
from olmkit.engine.chat.output.cursor import (
    Cursor,
    Malformed,
    Steps,
    Unfinished,
    Waiting,
    held_back,
)

_MAX_HEAD: Final = 1024
_MAX_END: Final = 512
"""Of what may stand for a forgotten closing text."""
_STRING: Final = frozenset(("string",))
_ATTRIBUTE: Final = re.compile(r'([\w-]+)="([^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the family itself writes a call: `{name}`, `{key}` and `{type}` are filled in."""

    section: str = ""
    call: str
    parameter: str
    parameter_end: str
    call_end: str
    section_end: str = ""


@dataclass(frozen=True, kw_only=True)
class ParameterCalls:
    """Elements of calls, perhaps in a section; heads are patterns with a group `name`.

    A head with a group `attributes` holds `name="…"` instead, under `name_attribute`.
    """

    call_open: str
    call_head: str
    call_close: str
    parameter_open: str
    parameter_head: str
    parameter_close: str
    written: Layout
    head_marks: tuple[str, ...] = ()
    """Literal texts in the heads."""
    name_attribute: str = "name"
    key_attribute: str = "name"
    type_attribute: str = ""
    """Tells a value's type: `string="true"`, or `type="number"`."""
    empty_close: str = ""
    """Ends the head of a call without parameters, and the call: `/>`."""
    section_open: str = ""
    section_close: str = ""
    stands_alone: bool = False
    """Calls without their section are taken too."""
    lines: bool = False
    """Each value has lines of its own: one line break before and behind is none of it."""

    @property
    def openers(self) -> tuple[str, ...]:
        """As `CallSyntax.openers`."""
        if not self.section_open:
            return (self.call_open,)
        return (self.section_open, *((self.call_open,) if self.stands_alone else ()))

    @property
    def first_openers(self) -> tuple[str, ...]:
        """As `CallSyntax.first_openers`."""
        return ()

    @cached_property
    def _call_head(self) -> re.Pattern[str]:
        return re.compile(self.call_head, re.DOTALL)

    @cached_property
    def _parameter_head(self) -> re.Pattern[str]:
        return re.compile(self.parameter_head, re.DOTALL)

    @property
    def marks(self) -> tuple[str, ...]:
        """As `CallSyntax.marks`."""
        return (
            *self.openers,
            self.call_open,
            self.call_close,
            self.parameter_open,
            self.parameter_close,
            self.section_close,
            *self.head_marks,
        )

    def parse(self, context: Context) -> Steps[None]:
        """As `CallSyntax.parse`."""
        cursor = context.cursor
        in_section = bool(self.section_open) and (yield from cursor.take(self.section_open))
        before = context.calls.count
        while True:
            if in_section or context.calls.count == before:
                yield from cursor.skip_space()
            if (yield from cursor.starts_with(self.call_open)):
                yield from self._call(context)
            elif not in_section and context.calls.count > before:
                break
            elif in_section and (yield from cursor.take(self.section_close)):
                context.done()
                return
            elif cursor.is_at_end and context.calls.count > before:
                break
            else:
                raise Unfinished if cursor.has_ended else Malformed("no call")
        yield from self._late_close(context)

    def _late_close(self, context: Context) -> Steps[None]:
        """A section's end without its beginning is none of the text."""
        cursor = context.cursor
        before = cursor.position
        yield from cursor.skip_space()
        if not self.section_close or not (yield from cursor.take(self.section_close)):
            cursor.position = before
        context.done()

    def _call(self, context: Context) -> Steps[None]:
        cursor = context.cursor
        yield from cursor.expect(self.call_open)
        head = yield from cursor.match(self._call_head, most=_MAX_HEAD)
        name, _ = _head(head, self.name_attribute)
        name = context.calls.offered_for(name)
        yield context.calls.start(name)
        if self.empty_close and head[0].rstrip().endswith(self.empty_close):
            yield context.calls.arguments("{}")
        else:
            yield from self._parameters(context, name)
        yield context.calls.finish()
        context.done()

    def _parameters(self, context: Context, name: str) -> Steps[None]:
        cursor, writer = context.cursor, ObjectWriter()
        while True:
            yield from cursor.skip_space()
            if (yield from cursor.take(self.parameter_open)):
                yield from self._parameter(context, name, writer)
            elif (yield from cursor.take(self.call_close)):
                yield context.calls.arguments(writer.end())
                return
            else:
                raise Unfinished if cursor.has_ended else Malformed("no parameter")

    def _parameter(self, context: Context, name: str, writer: ObjectWriter) -> Steps[None]:
        head = yield from context.cursor.match(self._parameter_head, most=_MAX_HEAD)
        key, attributes = _head(head, self.key_attribute)
        types = self._types(context, name, key, attributes)
        yield context.calls.arguments(writer.key(key))
        others = context.calls.parameter_names(name) - {key}
        if types == _STRING:
            yield context.calls.arguments('"')
            for piece in self._value(context.cursor, others):
                yield None if piece is None else context.calls.arguments(escaped(piece))
            yield context.calls.arguments('"')
            return
        pieces = []
        for piece in self._value(context.cursor, others):
            if piece is None:
                yield None
            else:
                pieces.append(piece)
        yield context.calls.arguments(json_of("".join(pieces), types))

    def _types(
        self, context: Context, name: str, key: str, attributes: dict[str, str]
    ) -> frozenset[str]:
        given = attributes.get(self.type_attribute, "") if self.type_attribute else ""
        if given in ("string", "true"):
            return _STRING
        if given == "false":  # string="false": JSON, whatever the schema says
            return frozenset()
        if given:
            return frozenset((given,))
        return context.calls.types(name, key)

    def _value(self, cursor: Cursor, others: frozenset[str]) -> Generator[str | None, None, None]:
        """The pieces of a parameter's value; the cursor ends behind its closing text.

        The closing text counts only before another parameter or the end of the call: inside a
        value it is part of it. Where it is forgotten, a line that opens one of the `others` or
        ends the call stands for it.
        """
        if self.lines and not (yield from cursor.take("\r\n")):
            yield from cursor.take("\n")
        ends = self._ends(others)
        marks = (self.parameter_close, *((f"\n{self.parameter_close}",) if self.lines else ()))
        followers = (self.parameter_open, self.call_close)
        searched = cursor.position
        while True:
            found = ends.search(cursor.text, searched)
            if found is None:
                safe = len(cursor.text) - self._held_back(cursor, marks)
                if safe > cursor.position:
                    piece = cursor.text[cursor.position : safe]
                    cursor.position = safe
                    yield piece
                searched = cursor.position
                yield from cursor.more()
                continue
            is_closed = found[0].endswith(self.parameter_close)
            if is_closed and not (yield from _follows(cursor, found.end(), followers)):
                searched = found.end()
                piece = cursor.text[cursor.position : searched]
                cursor.position = searched
                yield piece
                continue
            if found.start() > cursor.position:
                yield cursor.text[cursor.position : found.start()]
            cursor.position = found.end()
            return

    def _ends(self, others: frozenset[str]) -> re.Pattern[str]:
        close = re.escape(self.parameter_close)
        if not self.lines:
            return re.compile(close)
        opened = "|".join(re.escape(f"{self.parameter_open}{name}>") for name in sorted(others))
        ended = f"{re.escape(self.call_close)}\\s{{0,8}}{re.escape(self.section_close)}"
        return re.compile(f"\n?{close}|\n(?={opened or '(?!)'}|{ended})")

    def _held_back(self, cursor: Cursor, marks: tuple[str, ...]) -> int:
        """How much of the end may belong to what ends the value."""
        count = held_back(cursor.text, cursor.position, marks)
        if not self.lines:
            return count
        line = max(cursor.position, len(cursor.text) - _MAX_END)
        while (line := cursor.text.find("\n", line)) >= 0:
            if self._may_end(cursor.text[line + 1 :]):
                return max(count, len(cursor.text) - line)
            line += 1
        return count

    def _may_end(self, line: str) -> bool:
        """Whether what a line begins with could end a value."""
        for start, rest in ((self.parameter_open, ""), (self.call_close, self.section_close)):
            if start.startswith(line):
                return True
            if line.startswith(start):
                behind = line.removeprefix(start).lstrip()
                return rest.startswith(behind) if rest else ">" not in behind
        return False


def _head(head: re.Match[str], name_attribute: str) -> tuple[str, dict[str, str]]:
    groups = head.groupdict()
    if "attributes" not in groups:
        return groups["name"].strip(), {}
    attributes = {
        key: html.unescape(value) for key, value in _ATTRIBUTE.findall(groups["attributes"])
    }
    if name_attribute not in attributes:
        raise Malformed("no name of a tool or a parameter")
    return attributes[name_attribute], attributes


def _follows(cursor: Cursor, position: int, followers: Sequence[str]) -> Waiting[bool]:
    """Whether one of `followers` comes at a position, behind white space.

    Raises:
        Unfinished: the text ends where that is open.
    """
    while True:
        rest = cursor.text[position:].lstrip()
        if any(rest.startswith(follower) for follower in followers):
            return True
        if not any(follower.startswith(rest) for follower in followers):
            return False
        yield from cursor.more()
