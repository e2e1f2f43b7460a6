"""Bounds on JSON that are counted while it arrives, before anything is made of it.

A parser keeps Python's lock until it is done, in whatever thread it runs, so that what it may cost
has to be known before. Keys and containers cost most (0.2 ms a thousand), then numbers and texts.
Strings are stepped over: brackets in a prompt count as text.
"""

import re
from typing import Final

from olmkit.engine.errors import InvalidRequest

MAX_DEPTH: Final = 200
MAX_CONTAINERS: Final = 50_000
"""Objects and arrays."""
MAX_KEYS: Final = 50_000
MAX_VALUES: Final = 262_144
"""Of all kinds; the tokens of a `context` are the longest lists that clients send."""

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|(")(?:[^"\\]++|\\.)*+\\?\Z', re.DOTALL)
"""A whole string, or one that goes on behind the end, whose quote is the group: without that case
every escaped quote in it would be tried as a beginning."""
_REST_OF_STRING: Final = re.compile(rb"(?:[^\"\\]++|\\.)*+", re.DOTALL)
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}"))


class JsonMeter:
    """Counts what a JSON text holds, piece by piece."""

    def __init__(self) -> None:
        self._is_in_string = False
        self._is_escaped = False
        """The next byte belongs to the backslash before it."""
        self._depth = 0
        self._containers = 0
        self._keys = 0
        self._values = 0

    def feed(self, piece: bytes) -> None:
        """Count the next bytes.

        Raises:
            InvalidRequest: they go over a bound; names it.
        """
        start = self._skip_string(piece) if self._is_in_string else 0
        if start is None:
            return
        outside = _STRING.sub(rb"\1", piece[start:])
        cut = outside.find(b'"')
        if cut >= 0:
            self._is_in_string = True
            self._is_escaped = _ends_with_backslash(piece)
            outside = outside[:cut]
        self._count(outside)

    def _skip_string(self, piece: bytes) -> int | None:
        """Where the string that goes on ends in the piece; None: not in it."""
        start = 1 if self._is_escaped and piece else 0
        match = _REST_OF_STRING.match(piece, start)
        end = match.end() if match else start
        if end < len(piece) and piece[end : end + 1] == b'"':
            self._is_in_string = self._is_escaped = False
            return end + 1
        if piece:
            self._is_escaped = _ends_with_backslash(piece[start:])
        return None

    def _count(self, outside: bytes) -> None:
        opened = outside.count(b"{") + outside.count(b"[")
        self._containers += opened
        self._keys += outside.count(b":")
        self._values += outside.count(b",") + opened
        for count, limit, what in (
            (self._containers, MAX_CONTAINERS, "objects and arrays"),
            (self._keys, MAX_KEYS, "keys"),
            (self._values, MAX_VALUES, "values"),
        ):
            if count > limit:
                raise InvalidRequest(f"the request body holds over {limit} {what}")
        for bracket in outside.translate(None, _NO_BRACKET):
            self._depth += 1 if bracket in b"[{" else -1
            if self._depth > MAX_DEPTH:
                raise InvalidRequest("the request body is nested too deeply")


def _ends_with_backslash(piece: bytes) -> bool:
    """Whether the last byte is a backslash that escapes the next one."""
    return bool((len(piece) - len(piece.rstrip(b"\\"))) % 2)
