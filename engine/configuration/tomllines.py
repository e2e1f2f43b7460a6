"""Where in a TOML text each key stands, which `tomllib` does not tell.

A statement of TOML is a whole number of lines; it goes over several where a string or a bracket
is open at the end of one. What is open is told by the marks of strings, comments and brackets
alone, so each character is looked at a fixed number of times however long a statement is.
Source: https://toml.io/en/v1.0.0
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

Path = tuple[str | int, ...]
"""Keys and indices from the root of the document."""

MAX_KEY_PARTS: Final = 32
"""The time that `tomllib` takes for a key grows with the square of its parts."""

_MARK: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+"{0,5}'
    r"|'''(?:[^']|'(?!''))*+'{0,5}"
    r'|"(?:[^"\\\n]|\\.)*+"?'
    r"|'[^'\n]*+'?"
    r"|#[^\n]*+"
    r"|[\[\]{}\n]",
    re.DOTALL,
)
"""A whole string or comment, a bracket, or the end of a line. A string that nothing closes goes on
to the end, lest it be tried again from each of its quotes."""
_LONG_KEY: Final = re.compile(
    rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{MAX_KEY_PARTS}}}", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A key with its value, or the header of a table."""

    first_line: int
    """Counted from 1."""
    last_line: int
    text: str
    """Its lines, without the newline of the last."""
    paths: tuple[Path, ...]
    """What it gives a value to, the outermost first: more than one where its key has dots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a text says, and where."""

    values: dict[str, object]
    statements: tuple[Statement, ...]
    """In their order."""


def parse_document(text: str) -> Document:
    """The document of a text. Raises: tomllib.TOMLDecodeError: it is no TOML, or is too deep."""
    if _LONG_KEY.search(_MARK.sub(_plain, text)):
        raise tomllib.TOMLDecodeError(f"a key has more than {MAX_KEY_PARTS} parts")
    try:
        return Document(values=tomllib.loads(text), statements=tuple(_statements(text)))
    except RecursionError as error:
        raise tomllib.TOMLDecodeError("the text is nested too deeply") from error


def _plain(mark: re.Match[str]) -> str:
    """Brackets and ends of lines as they are, a string as a key without quotes."""
    return mark[0] if mark[0] in "[]{}\n" else "" if mark[0].startswith("#") else "_"


def _statements(text: str) -> Iterator[Statement]:
    table: Path = ()
    counts: dict[Path, int] = {}
    line = 1
    for chunk in _chunks(text):
        first_line, line = line, line + chunk.count("\n") + 1
        bare = chunk.strip()
        if not bare or bare.startswith("#"):
            continue
        parsed = tomllib.loads(chunk.removesuffix("\r"))
        if bare.startswith("["):
            table = _header(parsed, counts)
            paths: tuple[Path, ...] = (table,)
        else:
            paths = tuple(_dotted(table, parsed))
        yield Statement(first_line=first_line, last_line=line - 1, text=chunk, paths=paths)


class Lines:
    """The lines on which the values of a document are given."""

    def __init__(self, document: Document) -> None:
        self._lines: dict[Path, int] = {}
        for statement in document.statements:
            for path in statement.paths:
                self._lines.setdefault(path, statement.first_line)

    def of(self, path: Path) -> int:
        """The line that gives `path` its value, or the nearest table or array around it; 1 for
        none."""
        known = (path[:end] for end in range(len(path), 0, -1))
        return next((self._lines[each] for each in known if each in self._lines), 1)


def comment_of(text: str) -> str:
    """The comment at the end of a statement, with the blanks before it."""
    last = None
    for mark in _MARK.finditer(text):
        last = mark
    if last is None or not last[0].startswith("#"):
        return ""
    return text[len(text[: last.start()].rstrip(" \t")) :]


def _chunks(text: str) -> Iterator[str]:
    """The text cut at the ends of lines at which nothing is open."""
    start = depth = 0
    for mark in _MARK.finditer(text):
        if mark[0] in ("[", "{"):
            depth += 1
        elif mark[0] in ("]", "}"):
            depth -= 1
        elif mark[0] == "\n" and not depth:
            yield text[start : mark.start()]
            start = mark.end()
    yield text[start:]


def _header(parsed: dict[str, object], counts: dict[Path, int]) -> Path:
    """The path of the table that a header opens; `counts` has the tables of each array so far."""
    path: Path = ()
    value: object = parsed
    while isinstance(value, dict) and value:
        [(key, value)] = value.items()
        path = (*path, key)
        if isinstance(value, list):
            counts[path] = counts.get(path, 0) + 1
            return (*path, counts[path] - 1)
        if path in counts:
            path = (*path, counts[path] - 1)
    return path


def _dotted(path: Path, value: object) -> Iterator[Path]:
    while isinstance(value, dict) and len(value) == 1:
        [(key, value)] = value.items()
        path = (*path, key)
        yield path
