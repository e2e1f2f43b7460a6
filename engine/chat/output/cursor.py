"""A reading position in a text that is still being written.

Parsers are generators that yield events, and `None` where the next step needs text that is not
there yet. Every primitive decides by the text alone, never by where it was cut into pieces, so a
parser gives the same result under any chunking.
"""

import re
from collections.abc import Generator, Sequence
from typing import TypeVar

from olmkit.engine.chat.output.deltas import OutputEvent

T = TypeVar("T")
Steps = Generator[OutputEvent | None, None, T]
"""A parser: yields events, or None to wait for text."""
Waiting = Generator[None, None, T]
"""A primitive: only waits."""


class Malformed(Exception):
    """The text is not what the syntax wants here."""


class Unfinished(Malformed):
    """The text ends before the syntax does."""


class Cursor:
    """Text that grows at the end, and a position in it."""

    def __init__(self) -> None:
        self.text = ""
        self.position = 0
        self.has_ended = False

    def append(self, piece: str) -> None:
        """Adds text; what no mark needs any more is forgotten by `forget`."""
        self.text += piece

    def forget(self) -> None:
        """Drops the text before the position: marks taken before are void."""
        if self.position:
            self.text = self.text[self.position :]
            self.position = 0

    @property
    def rest(self) -> str:
        """What is there from the position on."""
        return self.text[self.position :]

    @property
    def is_at_end(self) -> bool:
        """Nothing more is there, nor will be."""
        return self.has_ended and self.position >= len(self.text)

    def more(self) -> Waiting[None]:
        """Waits for more text. Raises: Unfinished at the end."""
        if self.has_ended:
            raise Unfinished
        yield None

    def peek(self, count: int = 1) -> Waiting[str]:
        """The next characters: fewer than `count` only at the end."""
        while len(self.text) - self.position < count and not self.has_ended:
            yield None
        return self.text[self.position : self.position + count]

    def skip_space(self) -> Waiting[None]:
        """Goes behind white space."""
        while True:
            while self.position < len(self.text) and self.text[self.position].isspace():
                self.position += 1
            if self.position < len(self.text) or self.has_ended:
                return
            yield None

    def starts_with(self, literal: str) -> Waiting[bool]:
        """Whether `literal` is next; waits only while that is open."""
        while True:
            if self.text.startswith(literal, self.position):
                return True
            rest = self.text[self.position : self.position + len(literal)]
            if self.has_ended or len(rest) >= len(literal) or not literal.startswith(rest):
                return False
            yield None

    def take(self, literal: str) -> Waiting[bool]:
        """Goes behind `literal` when it is next."""
        found = yield from self.starts_with(literal)
        if found:
            self.position += len(literal)
        return found

    def take_any(self, literals: Sequence[str]) -> Waiting[str]:
        """Goes behind the first of `literals` that is next; returns it, or an empty string."""
        for literal in literals:
            if (yield from self.take(literal)):
                return literal
        return ""

    def expect(self, literal: str) -> Waiting[None]:
        """Goes behind `literal`. Raises: Malformed, or Unfinished where it is cut."""
        if (yield from self.take(literal)):
            return
        if self.has_ended and literal.startswith(self.rest):
            raise Unfinished
        raise Malformed(f"{literal!r} is missing")

    def match(self, pattern: re.Pattern[str], *, most: int) -> Waiting[re.Match[str]]:
        """Goes behind `pattern`, which begins here and has at most `most` characters.

        The pattern must end in what more text cannot make longer.

        Raises:
            Malformed, Unfinished: it does not match.
        """
        start = self.position
        while True:
            match = pattern.match(self.text, start)
            if match is not None and match.end() - start <= most:
                self.position = match.end()
                return match
            if match is not None or len(self.text) - start > most:
                raise Malformed("no end in sight")
            yield from self.more()


def held_back(text: str, start: int, literals: Sequence[str]) -> int:
    """How many characters at the end of `text[start:]` could be the beginning of a literal."""
    longest = max(map(len, literals), default=1) - 1
    for count in range(min(longest, len(text) - start), 0, -1):
        tail = text[len(text) - count :]
        if any(literal.startswith(tail) for literal in literals):
            return count
    return 0
