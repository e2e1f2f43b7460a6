"""One problem of a Modelfile: what, where, how to show it to people and to tools.

Knows no rule of the language; `parser` and `check` find the problems.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from olmkit.modelfile.source import Span

_WINDOW = 100
"""Columns of a source line that are shown around a problem."""
_LONGEST_WORD = 40
"""Words longer than this are no misspelling of anything."""
_MOST_EXPECTED = 16
"""Words that are listed of what would have been right; tools get all of them."""


class Severity(StrEnum):
    """Whether the file can be built all the same."""

    ERROR = "error"
    WARNING = "warning"


class Code(StrEnum):
    """What kind of problem it is; stable names for tools."""

    UNKNOWN_INSTRUCTION = "unknown-instruction"
    UNEXPECTED_CHARACTER = "unexpected-character"
    MISSING_SPACE = "missing-space"
    MISSING_OPERAND = "missing-operand"
    UNCLOSED_QUOTE = "unclosed-quote"
    TOO_LARGE = "too-large"
    UNKNOWN_PARAMETER = "unknown-parameter"
    INVALID_TEMPLATE = "invalid-template"
    INVALID_VALUE = "invalid-value"
    INVALID_ROLE = "invalid-role"
    EMPTY_OPERAND = "empty-operand"
    UNDEFINED_ARGUMENT = "undefined-argument"
    SAME_PATH = "same-path"
    NOT_IN_OLLAMA = "not-in-ollama"
    NO_FROM = "no-from"
    # warnings
    DEPRECATED_PARAMETER = "deprecated-parameter"
    OUT_OF_RANGE = "out-of-range"
    INSTRUCTION_AS_PARAMETER = "instruction-as-parameter"
    COMMENT_IN_VALUE = "comment-in-value"
    OVERRIDDEN = "overridden"
    NO_EFFECT = "no-effect"
    SHADOWED_NAME = "shadowed-name"
    UNUSED_ARGUMENT = "unused-argument"
    DROPPED_BY_OLLAMA = "dropped-by-ollama"
    CURLY_QUOTE = "curly-quote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """A problem and its place. `str()` is what people read, `to_json()` what tools read."""

    file: str
    span: Span
    severity: Severity
    code: Code
    message: str
    expected: tuple[str, ...] = ()
    """What could stand there instead."""
    suggestion: str | None = None
    """Text to put in place of the span."""
    hint: str | None = None
    """What to do, as a sentence."""
    source_line: str = ""
    """The line of the text on which the span starts, as written."""

    def to_json(self) -> dict[str, object]:
        """The problem as plain values, ready for `json.dumps`.

        Keys, all always present and stable: `file`, `line`, `column`, `end_line`, `end_column`
        (counted as in `Span`), `severity` (`error` or `warning`), `code` (see `Code`), `message`,
        `expected` (a list of strings), `suggestion` and `hint` (a string or null).
        """
        return {
            "file": self.file,
            "line": self.span.line,
            "column": self.span.column,
            "end_line": self.span.end_line,
            "end_column": self.span.end_column,
            "severity": self.severity.value,
            "code": self.code.value,
            "message": self.message,
            "expected": list(self.expected),
            "suggestion": self.suggestion,
            "hint": self.hint,
        }

    def __str__(self) -> str:
        label = "warning: " if self.severity is Severity.WARNING else ""
        place = f"{printable(self.file)}:{self.span.line}:{self.span.column}"
        lines = [f"{place}: {label}{self.message}", *self._excerpt()]
        lines.extend(f"  {advice}" for advice in self._advice())
        return "\n".join(lines)

    def _advice(self) -> list[str]:
        if self.suggestion is not None:
            return [f"did you mean '{self.suggestion}'?", *([self.hint] if self.hint else [])]
        if self.hint:
            return [self.hint]
        untold = [each for each in self.expected if each not in self.message]
        if len(untold) > _MOST_EXPECTED:
            left = len(untold) - _MOST_EXPECTED
            untold = [*untold[:_MOST_EXPECTED], f"or one of {left} others"]
        return [f"expected {', '.join(untold)}"] if untold else []

    def _excerpt(self) -> list[str]:
        """The source line, cut to a window around the span, and carets under the span."""
        start = self.span.column - 1
        end = self.span.end_column - 1 if self.span.end_line == self.span.line else None
        left = max(0, start - _WINDOW // 2) if len(self.source_line) > _WINDOW else 0
        shown = self.source_line[left : left + _WINDOW]
        marked = shown[start - left : None if end is None else end - left]
        ellipsis = "…" if left else ""
        before = "".join(
            "\t" if character == "\t" else " " * _width(character)
            for character in ellipsis + shown[: start - left]
        )
        more = "…" if left + _WINDOW < len(self.source_line) else ""
        carets = "^" * max(1, sum(map(_width, marked)))
        return [f"  {ellipsis}{printable(shown)}{more}", f"  {before}{carets}"]


def printable(text: str) -> str:
    """`text` with every character that could steer a terminal shown as U+FFFD; tabs stay.

    The length does not change.
    """
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in text)


def brief(text: str) -> str:
    """`text` for a message: printable, and cut where it gets long."""
    return printable(text if len(text) <= _LONGEST_WORD else text[: _LONGEST_WORD - 1] + "…")


def quoted(text: str) -> str:
    """`text` in single quotes for a message, as `brief`."""
    return f"'{brief(text)}'"


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `word` most likely stands for, letter case aside, or None."""
    from difflib import get_close_matches  # only a wrong file pays for it

    if len(word) > _LONGEST_WORD:
        return None
    folded = {candidate.lower(): candidate for candidate in candidates}
    found = get_close_matches(word.lower(), folded, n=1, cutoff=0.7)
    return folded[found[0]] if found else None


def _width(character: str) -> int:
    """Terminal columns of a character."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
