"""Request bodies: JSON as Go's decoder takes it, within bounds, refused in its words.

Unknown fields are ignored, keys match in any case at the top, null means absent, the last of
equal keys wins, bytes behind the first value are ignored, the content type does not matter.
Source: what Go's decoder does, https://pkg.go.dev/encoding/json#Unmarshal
"""

import json
import re
from collections.abc import AsyncIterator
from typing import Any, Final, NoReturn, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from olmkit.engine.errors import InvalidRequest, RequestCancelled

MAX_BODY_BYTES: Final = 64 << 20
"""Of a JSON request: images come in base64."""

T = TypeVar("T", bound=msgspec.Struct)

_ESCAPED_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_EXPECTED: Final = re.compile(r"Expected `([^`]*)`, got `([^`]*)`(?: - at `(\$?[^`]*)`)?")
_POSITION: Final = re.compile(r"\[[^\]]*\]")
_GO_KINDS: Final = {
    "int": "number",
    "float": "number",
    "str": "string",
    "bool": "bool",
    "array": "array",
    "object": "object",
}
_GO_TYPES: Final = {
    "int": "int",
    "float": "float64",
    "str": "string",
    "bool": "bool",
    "array": "slice",
    "object": "struct",
}
_GO_COMPLAINTS: Final = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name": "looking for beginning of object key string",
    "Illegal trailing comma": "looking for beginning of value",
    "Expecting ':'": "after object key",
    "Expecting ','": "after object key:value pair",
    "Invalid control": "in string literal",
    "Invalid \\escape": "in string escape code",
    "Invalid \\uXXXX": "in \\u hexadecimal character escape",
}


async def read_body(request: Request) -> bytes:
    """The request's body.

    Raises:
        InvalidRequest: over `MAX_BODY_BYTES`.
        RequestCancelled: the client went away.
    """
    pieces, size_bytes = [], 0
    async for piece in body_pieces(request):
        size_bytes += len(piece)
        if size_bytes > MAX_BODY_BYTES:
            raise InvalidRequest(f"the request body is over {MAX_BODY_BYTES} bytes")
        pieces.append(piece)
    return b"".join(pieces)


async def body_pieces(request: Request) -> AsyncIterator[bytes]:
    """The body as it arrives.

    Raises:
        RequestCancelled: the client went away.
    """
    try:
        async for piece in request.stream():
            if piece:
                yield piece
    except ClientDisconnect as error:
        raise RequestCancelled("request canceled") from error


async def decode_body(request: Request, kind: type[T]) -> T:
    """The body as a `kind`.

    Raises:
        InvalidRequest: no body, no JSON, wrong types, or too long.
        RequestCancelled: the client went away.
    """
    return decode(await read_body(request), kind)


def decode(body: bytes, kind: type[T]) -> T:
    """The JSON in `body` as a `kind`.

    Raises:
        InvalidRequest: no body, no JSON, or wrong types; in Go's words.
    """
    value = parse_json(body)
    if value is None:
        value = {}
    if isinstance(value, dict):
        value = _fold_keys(value, kind)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_in_go(str(error), kind)) from error


def parse_json(body: bytes) -> Any:
    """The first JSON value of `body`.

    Raises:
        InvalidRequest: there is none.
    """
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    if not text:
        raise InvalidRequest("missing request body")
    try:
        value, _ = _decoder.raw_decode(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(_syntax_error(error)) from error
    except RecursionError as error:
        raise InvalidRequest("the request body is nested too deeply") from error
    except ValueError as error:  # a number of more digits than Python converts
        raise InvalidRequest(f"the request body holds an impossible number: {error}") from error
    return _without_surrogates(value) if _ESCAPED_SURROGATE.search(text) else value


def _no_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError("Expecting value", name, 0)


_decoder: Final = json.JSONDecoder(parse_constant=_no_constant)


def _syntax_error(error: json.JSONDecodeError) -> str:
    if error.pos >= len(error.doc) or error.msg.startswith("Unterminated string"):
        return "unexpected EOF"
    for start, complaint in _GO_COMPLAINTS.items():
        if error.msg.startswith(start):
            return f"invalid character '{error.doc[error.pos]}' {complaint}"
    return f"invalid JSON: {error.msg.lower()}"


def _without_surrogates(value: Any) -> Any:
    """Half of a UTF-16 pair, which no text may hold, becomes U+FFFD as in Go."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    return value


def _fold_keys(value: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    known = {name.lower(): name for name in kind.__struct_encode_fields__}
    return {known.get(key.lower(), key): item for key, item in value.items()}


def _in_go(text: str, kind: type[msgspec.Struct]) -> str:
    match = _EXPECTED.match(text)
    if match is None:
        return text
    expected, got, path = match[1].split(" | ")[0], match[2], match[3] or "$"
    field = _POSITION.sub("", path.removeprefix("$")).lstrip(".")
    where = f"struct field {kind.__name__}.{field}" if field else f"value of {kind.__name__}"
    return (
        f"json: cannot unmarshal {_GO_KINDS.get(got, got)} into Go {where} "
        f"of type {_GO_TYPES.get(expected, expected)}"
    )
