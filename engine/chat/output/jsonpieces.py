"""JSON as models write it, read while it streams.

The text is handed on as it comes; only what JSON forbids inside strings (line breaks and other
control characters) is escaped. Whether all of it is JSON shows at the end.
"""

import json
import re
from collections.abc import Generator
from typing import Any, Final, NoReturn

from olmkit.engine.chat.output.cursor import Cursor, Malformed, Unfinished, Waiting

MAX_DEPTH: Final = 64
_PLAIN: Final = re.compile(r'[^"{}\[\]]+')
_STRING: Final = re.compile(r'[^"\\\x00-\x1f]+')
_SCALAR: Final = re.compile(r"[-+.\w]+")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def decode_json(text: str) -> Any:
    """The value of a JSON text. Raises: Malformed, also for NaN and Infinity."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed("this is no JSON") from error


def encode_json(value: Any) -> str:
    """JSON text as small models and clients are used to it."""
    return json.dumps(value, ensure_ascii=False)


def json_value(cursor: Cursor) -> Generator[str | None, None, None]:
    """The pieces of the JSON value at the cursor, which ends behind it; None: waits for text.

    Only brackets and quotes are watched: `decode_json` says whether the whole is valid.

    Raises:
        Malformed: no value begins here, or it is nested too deeply.
        Unfinished
    """
    first = yield from cursor.peek()
    if not first:
        raise Unfinished
    if first in "{[":
        yield from _container(cursor)
    elif first == '"':
        cursor.position += 1
        yield '"'
        yield from _string(cursor)
    else:
        yield from _scalar(cursor)


def _container(cursor: Cursor) -> Generator[str | None, None, None]:
    depth = 0
    while True:
        if cursor.position >= len(cursor.text):
            yield from cursor.more()
            continue
        character = cursor.text[cursor.position]
        if match := _PLAIN.match(cursor.text, cursor.position):
            cursor.position = match.end()
            yield match[0]
            continue
        cursor.position += 1
        yield character
        if character == '"':
            yield from _string(cursor)
        elif character in "{[":
            depth += 1
            if depth > MAX_DEPTH:
                raise Malformed("nested too deeply")
        else:
            depth -= 1
            if depth == 0:
                return


def _string(cursor: Cursor) -> Generator[str | None, None, None]:
    while True:
        if cursor.position >= len(cursor.text):
            yield from cursor.more()
            continue
        if match := _STRING.match(cursor.text, cursor.position):
            cursor.position = match.end()
            yield match[0]
            continue
        character = cursor.text[cursor.position]
        if character == "\\":
            pair = yield from cursor.peek(2)
            if len(pair) < 2:
                raise Unfinished
            cursor.position += 2
            yield pair
            continue
        cursor.position += 1
        if character == '"':
            yield character
            return
        yield json.dumps(character)[1:-1]


def _scalar(cursor: Cursor) -> Generator[str | None, None, None]:
    while True:
        match = _SCALAR.match(cursor.text, cursor.position)
        if match is None:
            raise Malformed("no JSON value begins here")
        if match.end() < len(cursor.text) or cursor.has_ended:
            cursor.position = match.end()
            yield match[0]
            return
        yield None


def whole_json(cursor: Cursor) -> Waiting[str]:
    """The text of the JSON value at the cursor. Raises: as `json_value`."""
    pieces: list[str] = []
    for piece in json_value(cursor):
        if piece is None:
            yield None
        else:
            pieces.append(piece)
    return "".join(pieces)
