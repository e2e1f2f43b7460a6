"""Word wrap of text that arrives in pieces and is shown at once.

A word is printed as it comes; where it turns out not to fit, it is taken back and set again on
the next line, so only the last partial word ever moves. A word longer than a line is left to
the terminal, whole, so that a long address can still be copied.
"""

from olmkit.cli.screen.output import character_width

MIN_WIDTH = 10
"""Narrower terminals get no wrapping."""
TAB = 8
"""Columns between tab stops."""


class WordWrap:
    """The state of one text on one terminal."""

    def __init__(self) -> None:
        self._column = 0
        self._word = ""
        self._word_width = 0

    def feed(self, text: str, terminal_width: int) -> str:
        """The characters that show the next piece of the text on the terminal."""
        if terminal_width < MIN_WIDTH:
            return text
        # The last column stays free: a cursor behind it would wrap by itself.
        limit = terminal_width - 1
        return "".join([self._place(character, limit) for character in text])

    def _place(self, character: str, limit: int) -> str:
        if character == "\n":
            self._end_line()
            return character
        if character in " \t":
            return self._place_blank(character, limit)
        width = character_width(character)
        if self._column + width <= limit:
            return self._append(character, width)
        if width == 2 or self._word_width == 0:
            # Wide scripts break anywhere.
            self._end_line()
            return "\n" + self._append(character, width)
        if self._word_width == self._column:
            return self._overflow(character, width, limit)
        moved, moved_width = self._word, self._word_width
        self._column, self._word, self._word_width = moved_width, moved, moved_width
        back = f"\x1b[{moved_width}D\x1b[K"
        return f"{back}\n{moved}" + self._append(character, width)

    def _place_blank(self, blank: str, limit: int) -> str:
        self._word, self._word_width = "", 0
        width = TAB - self._column % TAB if blank == "\t" else 1
        if self._column + width > limit:
            self._column = max(self._column, limit)  # the next word begins a line
            return ""
        self._column += width
        return blank

    def _append(self, character: str, width: int) -> str:
        self._column += width
        if width == 2:
            self._word, self._word_width = "", 0
        else:
            self._word += character
            self._word_width += width
        return character

    def _overflow(self, character: str, width: int, limit: int) -> str:
        """The word began its line and is longer: the terminal breaks it where it must."""
        self._column = (self._column + width - 1) % (limit + 1) + 1
        self._word_width = self._column
        return character

    def _end_line(self) -> None:
        self._column, self._word, self._word_width = 0, "", 0
