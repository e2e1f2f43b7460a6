"""Calls whose name stands before a JSON object: DeepSeek V3, Kimi K2, Mistral from v11 on, …

`[TOOL_CALLS]f[ARGS]{…}`, `<function=f>{…}</function>`, and sections of such calls.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from olmkit.engine.chat.output.callsyntax import Context
from olmkit.engine.chat.output.cursor import Malformed, Steps, Unfinished, Waiting
from olmkit.engine.chat.output.syntaxes.jsoncalls import stream_arguments

_MAX_HEAD: Final = 512


@dataclass(frozen=True, kw_only=True)
class NamedCalls:
    """`call_open`, a head with the name, a JSON object, `call_close`; perhaps in a section."""

    call_open: str
    head: str
    """A pattern from behind `call_open` to before the object: `name`, perhaps `id`."""
    written_head: str
    """The head as the family itself writes it, `{name}` standing for the name."""
    head_marks: tuple[str, ...] = ()
    """Literal texts in `head`."""
    tail: str = ""
    """Text between object and `call_close` that may be there."""
    call_close: str = ""
    is_close_needed: bool = False
    section_open: str = ""
    section_close: str = ""
    first_openers: tuple[str, ...] = ()

    @property
    def openers(self) -> tuple[str, ...]:
        """As `CallSyntax.openers`."""
        return tuple(filter(None, (self.section_open, self.call_open)))

    @cached_property
    def _head(self) -> re.Pattern[str]:
        return re.compile(self.head)

    @property
    def marks(self) -> tuple[str, ...]:
        """As `CallSyntax.marks`."""
        return (*self.openers, self.call_close, self.section_close, *self.head_marks)

    def parse(self, context: Context) -> Steps[None]:
        """As `CallSyntax.parse`."""
        cursor = context.cursor
        if not self.section_open or not (yield from cursor.take(self.section_open)):
            yield from self._call(context)
            return
        before = context.calls.count
        while (yield from self._goes_on(context, has_calls=context.calls.count > before)):
            yield from self._call(context)
        context.done()

    def _goes_on(self, context: Context, *, has_calls: bool) -> Waiting[bool]:
        """Goes to the next call (true) or behind the section's end.

        What stands between calls means nothing; a section of nothing else is text.
        """
        cursor = context.cursor
        start = cursor.position
        while not (yield from cursor.starts_with(self.call_open)):
            noise = cursor.text[start : cursor.position]
            if (yield from cursor.take(self.section_close)):
                if noise.strip() and not has_calls:
                    raise Malformed("a section without calls")
                return False
            if cursor.is_at_end:
                if has_calls:
                    return False
                raise Unfinished
            if len(noise) > _MAX_HEAD:
                raise Malformed("neither a call nor the section's end")
            cursor.position += 1
        return True

    def _call(self, context: Context) -> Steps[None]:
        cursor = context.cursor
        yield from cursor.expect(self.call_open)
        head = yield from cursor.match(self._head, most=_MAX_HEAD)
        groups = head.groupdict()
        name = context.calls.offered_for(groups["name"])
        yield context.calls.start(name, groups.get("id") or "")
        yield from cursor.skip_space()
        if not (yield from cursor.starts_with("{")):
            raise Unfinished if cursor.is_at_end else Malformed("the arguments are no object")
        yield from stream_arguments(context)
        yield from self._close(context)

    def _close(self, context: Context) -> Steps[None]:
        cursor = context.cursor
        before = cursor.position
        for text in filter(None, (self.tail, self.call_close)):
            yield from cursor.skip_space()
            if (yield from cursor.take(text)):
                before = cursor.position
            elif text == self.call_close and self.is_close_needed:
                raise Unfinished if cursor.is_at_end else Malformed("the call does not end")
        cursor.position = before
        yield context.calls.finish()
        context.done()
