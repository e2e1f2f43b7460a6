"""Markdown drawn while it arrives: each block as soon as it is whole, code line by line.

What was drawn stays as it is: nothing is ever taken back, so an answer that scrolls, or a
terminal that changes its width, garbles nothing. Everything that the model wrote is there: HTML
is text, and what is no Markdown stays as it was written.
Source: https://spec.commonmark.org/0.31.2/
"""

import io
import re
import textwrap
from typing import Final

from rich.console import Console, RenderableType
from rich.markdown import Markdown
from rich.padding import Padding
from rich.syntax import Syntax

CODE_THEME: Final = "ansi_dark"
"""The colours of the terminal itself, whatever its background."""
MOST_CODE_LINES: Final = 200
"""Lines before one that its colours may depend on."""

_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^`]*")
_ITEM: Final = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)])(?:[ \t]|$)")
_CODE_SPAN: Final = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)


class MarkdownStream:
    """One answer; `feed` and `end` give the text that is to be drawn next."""

    def __init__(self, width: int, *, has_colour: bool = True) -> None:
        self._width = width
        self._has_colour = has_colour
        self._rest = ""
        """A line that has not ended."""
        self._block: list[str] = []
        self._code: list[str] = []
        self._fence = ""
        """What ends the code that is open; empty: none is."""
        self._language = ""
        self._is_in_list = False
        self._is_begun = False

    def feed(self, text: str) -> str:
        """What can be drawn now that the text has come; often nothing."""
        *lines, self._rest = (self._rest + text).split("\n")
        return "".join(map(self._line, lines))

    def end(self) -> str:
        """What is left at the end of the answer, or where it was broken off."""
        rest, self._rest = self._rest, ""
        drawn = self._line(rest) if rest else ""
        self._fence = ""
        return drawn + self._drawn_block()

    def _line(self, line: str) -> str:
        line = line.removesuffix("\r")
        if self._fence:
            return self._code_line(line)
        if match := _FENCE.fullmatch(line):
            before = self._drawn_block()
            self._fence, self._language, self._code = match[1], match[2], []
            return before + self._apart()
        if not line.strip():
            return self._drawn_block()
        self._block.append(line)
        return ""

    def _code_line(self, line: str) -> str:
        closing = line.strip()
        if closing.startswith(self._fence) and not closing.strip(self._fence[0]):
            self._fence = ""
            return ""
        self._code = [*self._code[-MOST_CODE_LINES:], line]
        code = "\n".join(self._code)
        syntax = Syntax(code, self._language or "text", theme=CODE_THEME)
        shown = syntax.highlight(code).split("\n", allow_blank=True)[len(self._code) - 1]
        # The terminal breaks what is too long: so it can be copied whole.
        return self._drawn(shown, wraps=False)

    def _drawn_block(self) -> str:
        lines, self._block = self._block, []
        if not lines:
            return ""
        before = self._apart()
        indent = len(lines[0]) - len(lines[0].lstrip(" "))
        if indent >= 2 and self._is_in_list:
            inner = textwrap.dedent("\n".join(lines))
            return before + self._drawn(Padding(_markdown(inner), (0, 0, 0, indent)))
        self._is_in_list = _ITEM.match(lines[0]) is not None
        if indent >= 4:
            return before + "".join(f"{line}\n" for line in lines)
        return before + self._drawn(_markdown("\n".join(lines)))

    def _apart(self) -> str:
        """The empty line between two blocks."""
        is_begun, self._is_begun = self._is_begun, True
        return "\n" if is_begun else ""

    def _drawn(self, what: RenderableType, *, wraps: bool = True) -> str:
        file = io.StringIO()
        console = Console(
            file=file,
            width=self._width,
            force_terminal=True,
            color_system="standard" if self._has_colour else None,
            no_color=not self._has_colour,
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
        )
        console.print(what, soft_wrap=not wraps)
        # Blanks up to the edge would break into lines of their own in a narrower window.
        return "".join(f"{line.rstrip(' ')}\n" for line in file.getvalue().split("\n")[:-1])


def _markdown(text: str) -> Markdown:
    """The block, with HTML as the text that it is: rich leaves it out."""
    parts: list[str] = []
    start = 0
    for span in _CODE_SPAN.finditer(text):
        parts += [text[start : span.start()].replace("<", "\\<"), span[0]]
        start = span.end()
    parts.append(text[start:].replace("<", "\\<"))
    return Markdown("".join(parts), code_theme=CODE_THEME, hyperlinks=False)
