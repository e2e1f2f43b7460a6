"""Where in a TOML text each key stands, which `tomllib` does not tell.

A statement of TOML is a whole number of lines, and no beginning of one is a statement itself: a
string or array that goes over several lines is open until its last. So lines are joined until
they parse. Source: https://toml.io/en/v1.0.0
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Keys and indices from the root of the document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A key with its value, or the header of a table."""

    first_line: int
    """Counted from 1."""
    last_line: int
    text: str
    """Its lines, without the newline of the last."""
    paths: tuple[Path, ...]
    """What it gives a value to, the outermost first; inline tables and arrays are opened."""


def statements(text: str) -> Iterator[Statement]:
    """The statements of a text that `tomllib` takes, in their order."""
    lines = text.split("\n")
    table: Path = ()
    counts: dict[Path, int] = {}
    start = 0
    while start < len(lines):
        if lines[start].strip() in ("", "\r") or lines[start].lstrip().startswith("#"):
            start += 1
            continue
        end, parsed = _statement(lines, start)
        chunk = "\n".join(lines[start:end])
        if chunk.lstrip().startswith("["):
            table = _header(parsed, counts)
            paths: tuple[Path, ...] = (table,)
        else:
            paths = tuple(_opened(table, parsed))
        yield Statement(first_line=start + 1, last_line=end, text=chunk, paths=paths)
        start = end


def line_of(text: str, path: Path) -> int:
    """The line that gives `path` its value, or the nearest table or array around it; 1 for none."""
    best, line = -1, 1
    for statement in statements(text):
        for known in statement.paths:
            if len(known) > best and path[: len(known)] == known:
                best, line = len(known), statement.first_line
    return line


def _statement(lines: list[str], start: int) -> tuple[int, dict[str, object]]:
    """Where the statement that begins at an index ends, and what it says."""
    for end in range(start + 1, len(lines) + 1):
        try:
            return end, tomllib.loads("\n".join(lines[start:end]))
        except tomllib.TOMLDecodeError:
            continue
    raise ValueError("the text is no TOML")


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


def _opened(path: Path, value: object) -> Iterator[Path]:
    inner: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    for key, item in inner:
        yield (*path, key)
        yield from _opened((*path, key), item)
