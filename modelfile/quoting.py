"""Where a value ends: blanks, comments and quotes.

Where a quoted value ends depends on what follows it, so no regular expression of the grammar can
tell; the parser and `render` both ask here. There are no escapes.
Source: docs/modelfile.md, "Values"; `unquote` of
https://github.com/ollama/ollama/blob/v0.17.4/parser/parser.go
"""

import re
from dataclasses import dataclass

from olmkit.modelfile.instructions import TEXT_INSTRUCTIONS

# White space, control characters and marks that nobody sees, but no line end. Ollama trims or
# drops all of them; here they vanish around values, never inside.
BLANK = (
    r" \t\v\f\x00-\x08\x0e-\x1f\x7f-\x9f\xa0\xad\u061c\u1680\u180e"
    r"\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"
)
KEYWORDS = (*TEXT_INSTRUCTIONS, "PARAMETER", "MESSAGE")

_BLANKS = re.compile(rf"[{BLANK}]*+")
_BETWEEN = re.compile(rf"[{BLANK}\r\n]*+(?:#[^\r\n]*+[{BLANK}\r\n]*+)*")
_COMMAND = re.compile(rf"(?:{'|'.join((*KEYWORDS, 'ARG'))})[ \t]|\Z", re.IGNORECASE)
_LINE_END = re.compile(r"[\r\n]|\Z")
_BARE = re.compile(rf"[^\r\n]*[^\r\n{BLANK}]")
_CLOSES = {quote: re.compile(rf"{quote}(?=[{BLANK}]*+(?:[\r\n]|\Z))") for quote in ('"""', '"')}
_COMMENTED = {quote: re.compile(rf"{quote}(?=[{BLANK}]++#)") for quote in ('"""', '"')}


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A value as it stands in the text."""

    quote: str
    """What it is wrapped in: three quotes, one, or nothing."""
    start: int
    end: int
    """Offsets of the value with its quotes."""
    remark: int | None = None
    """Offset after a quote inside that was perhaps meant to close, for a comment follows it."""

    @property
    def content_start(self) -> int:
        """Offset of the first character inside the quotes."""
        return self.start + len(self.quote)

    @property
    def content_end(self) -> int:
        """Offset after the last character inside the quotes."""
        return self.end - len(self.quote)


class Values:
    """Finds the values of one text, in time linear in its length however they are quoted.

    With `comments`, a quote also closes when a comment follows it and the next line that is
    neither blank nor a comment starts a command: what Ollama would take for a value that goes on
    was meant as a comment.
    """

    def __init__(self, text: str, *, comments: bool) -> None:
        self.text = text
        self._comments = comments
        self._unclosed: set[str] = set()
        """Quotes that close nowhere in the rest of the text: found once, it holds further on."""
        self._gap = (0, -1, False)
        """The last stretch between commands that was looked at, and whether a command follows."""

    def skip_blanks(self, at: int) -> int:
        """The offset after the blanks at `at`."""
        found = _BLANKS.match(self.text, at)
        return found.end() if found else at

    def skip_between(self, at: int) -> int:
        """The offset after blanks, line ends and comments: a command's start, or the end."""
        found = _BETWEEN.match(self.text, at)
        return found.end() if found else at

    def line_end(self, at: int) -> int:
        """The offset of the next line end at or after `at`."""
        found = _LINE_END.search(self.text, at)
        return found.start() if found else len(self.text)

    def find(self, at: int) -> Value | None:
        """The value that starts at `at`, where neither a blank nor a line end stands.

        None when it opens a quote that never closes.
        """
        text = self.text
        quote = '"""' if text.startswith('"""', at) else '"' if text.startswith('"', at) else ""
        if not quote:
            found = _BARE.match(text, at)
            return Value(quote="", start=at, end=found.end() if found else at)
        if quote in self._unclosed:
            return None
        start = at + len(quote)
        closing = _CLOSES[quote].search(text, start)
        last_line = len(text)
        if closing:
            last_line = max(start, 1 + max(text.rfind(c, start, closing.start()) for c in "\r\n"))
        commented = self._commented(quote, start, last_line)
        if commented is not None and self._comments:
            return Value(quote=quote, start=at, end=commented)
        if closing is None:
            self._unclosed.add(quote)
            return None
        if commented is None and (seen := _COMMENTED[quote].search(text, last_line, closing.end())):
            commented = seen.end()
        return Value(quote=quote, start=at, end=closing.end(), remark=commented)

    def _commented(self, quote: str, start: int, limit: int) -> int | None:
        """The offset after the first quote in `text[start:limit]` that a comment closes."""
        at = start
        while found := _COMMENTED[quote].search(self.text, at, limit):
            at = self.line_end(found.end())
            if self._command_follows(at):
                return found.end()
        return None

    def _command_follows(self, at: int) -> bool:
        """Whether a command, or nothing, is next after the line end at `at`."""
        start, end, follows = self._gap
        if not start <= at <= end:
            end = self.skip_between(at)
            follows = _COMMAND.match(self.text, end) is not None
            self._gap = (at, end, follows)
        return follows
