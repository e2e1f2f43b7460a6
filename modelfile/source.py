"""The text of a Modelfile: bytes to characters, characters to lines and columns.

Knows encodings and line ends; knows nothing of the language.
"""

import codecs
import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Self

NEWLINE = re.compile(r"\r\n|\r|\n")
_SURROGATE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Span:
    """A piece of the text. Lines and columns count from 1, columns in Unicode code points.

    The end is exclusive: `end_column` is the column after the last character. CR LF is one line
    end, as editors count it.
    """

    line: int
    column: int
    end_line: int
    end_column: int


class Source:
    """A decoded text, its name for messages, and where its lines start."""

    def __init__(self, text: str, file_name: str) -> None:
        self.text = text
        self.file_name = file_name
        self._last_line = (0, "")

    @classmethod
    def read(cls, data: str | bytes, file_name: str) -> Self:
        """The text of `data`: UTF-8 unless a byte-order mark says UTF-16, never failing.

        What does not decode becomes U+FFFD, as in Ollama (docs/modelfile.md, "Characters").
        """
        return cls(_decode(data) if isinstance(data, bytes) else _clean(data), file_name)

    @cached_property
    def line_starts(self) -> list[int]:
        """Offset of the first character of each line, ascending, the first one 0."""
        return [0, *(end.end() for end in NEWLINE.finditer(self.text))]

    def span(self, start: int, end: int) -> Span:
        """The lines and columns of `text[start:end]`."""
        line, column = self._position(start)
        end_line, end_column = self._position(end)
        return Span(line=line, column=column, end_line=end_line, end_column=end_column)

    def offset(self, line: int, column: int) -> int:
        """Where in the text a line and column of it are."""
        return self.line_starts[line - 1] + column - 1

    def line(self, number: int) -> str:
        """The text of line `number`, without its line end."""
        if self._last_line[0] != number:  # a hundred problems of a huge line share one string
            starts = self.line_starts
            end = starts[number] if number < len(starts) else len(self.text)
            self._last_line = (number, self.text[starts[number - 1] : end].rstrip("\r\n"))
        return self._last_line[1]

    def _position(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1


def _decode(data: bytes) -> str:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    return data.decode("utf-8", "replace")


def _clean(text: str) -> str:
    """`text` as if it had been read from a file: no mark in front, no lone surrogates."""
    return _SURROGATE.sub(_REPLACEMENT, text.removeprefix("\ufeff"))
