"""Request bodies: JSON as Go's decoder takes it, within bounds, refused in its words.

Unknown fields are ignored, keys match in any case at the top, null means absent, the last of
equal keys wins, bytes behind the first value are ignored, the content type does not matter.
Source: what Go's decoder does, https://pkg.go.dev/encoding/json#Unmarshal
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from olmkit.engine.api.jsonbounds import JsonMeter
from olmkit.engine.errors import InvalidRequest, QueueFull
from olmkit.registry.errors import Cancelled

MAX_BODY_BYTES: Final = 32 << 20
"""Of a JSON request: images come in base64."""
MAX_TEXT_BYTES: Final = 8 << 20
"""Of all in it but images: four million tokens."""
MAX_HELD_BYTES: Final = 256 << 20
"""Of all requests that are being read."""
MAX_EXPLAINED_BYTES: Final = 1 << 20
"""A longer body has to be JSON to the letter; Go's leniency is for shorter ones."""
MAX_ZSTD_WINDOW_BYTES: Final = 8 << 20
"""What a decoder has to take: https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.1.2."""
SMALL_BYTES: Final = 64 << 10
"""Parsed on the event loop: it takes less than handing it to a thread."""

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


class _Bodies:
    """The bytes of all bodies that are held until they are parsed. Used from the event loop."""

    def __init__(self) -> None:
        self._held_bytes = 0

    @contextmanager
    def held(self) -> Iterator[Callable[[int], None]]:
        """What to tell of every piece of one body; all of it is given back at the end."""
        own_bytes = 0

        def hold(size_bytes: int) -> None:
            nonlocal own_bytes
            if self._held_bytes + size_bytes > MAX_HELD_BYTES:
                raise QueueFull("too many long requests at once", retry_after_s=1)
            own_bytes += size_bytes
            self._held_bytes += size_bytes

        try:
            yield hold
        finally:
            self._held_bytes -= own_bytes


_bodies: Final = _Bodies()


async def read_body(request: Request, hold: Callable[[int], None]) -> bytes:
    """The request's JSON, its parts counted as they come, each told to `hold`.

    It may come compressed by zstd, as Codex sends it: https://www.rfc-editor.org/rfc/rfc8878.

    Raises:
        QueueFull: `hold` has no room.
        InvalidRequest: over `MAX_BODY_BYTES`, over a bound of `jsonbounds`, or in an encoding
            that cannot be undone.
        Cancelled: the client went away.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "zstd"):
        raise InvalidRequest(f"the content encoding {encoding[:40]!r} is not supported, only zstd")
    pieces, size_bytes, meter = [], 0, JsonMeter()

    def take(piece: bytes, *, is_json: bool) -> None:
        nonlocal size_bytes
        size_bytes += len(piece)
        if size_bytes > MAX_BODY_BYTES:
            raise InvalidRequest(f"the request body is over {MAX_BODY_BYTES} bytes")
        hold(len(piece))
        if is_json:
            meter.feed(piece)
        pieces.append(piece)

    async for piece in body_pieces(request):
        take(piece, is_json=encoding == "identity")
    if encoding == "zstd":
        compressed = b"".join(pieces)
        pieces, size_bytes = [], 0
        for piece in _decompressed(compressed):
            take(piece, is_json=True)
    return b"".join(pieces)


def _decompressed(body: bytes) -> Iterator[bytes]:
    """The text of a zstd body in small pieces, so that a bomb is noticed before it is large."""
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
    try:
        with decompressor.stream_reader(body, read_across_frames=True) as reader:
            while piece := reader.read(SMALL_BYTES):
                yield piece
    except zstandard.ZstdError as error:
        raise InvalidRequest(f"failed to decompress the request body: {error}") from error


async def body_pieces(request: Request) -> AsyncIterator[bytes]:
    """The body as it arrives.

    Raises:
        Cancelled: the client went away.
    """
    try:
        async for piece in request.stream():
            if piece:
                yield piece
    except ClientDisconnect as error:
        raise Cancelled("request canceled") from error


async def decode_body(request: Request, kind: type[T]) -> T:
    """The body as a `kind`.

    Raises:
        InvalidRequest: no body, no JSON, wrong types, or too long.
        Cancelled: the client went away.
    """
    with _bodies.held() as hold:
        body = await read_body(request, hold)
        if len(body) <= SMALL_BYTES:
            return decode(body, kind)
        return await asyncio.to_thread(decode, body, kind)


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
    if len(body) > MAX_TEXT_BYTES and len(body) - _image_bytes(value) > MAX_TEXT_BYTES:
        raise InvalidRequest(f"the request body is over {MAX_TEXT_BYTES} bytes without its images")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_in_go(str(error), kind)) from error


def parse_json(body: bytes) -> Any:
    """The first JSON value of `body`.

    Raises:
        InvalidRequest: there is none.
    """
    if len(body) > MAX_EXPLAINED_BYTES:
        try:
            return msgspec.json.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise InvalidRequest(f"invalid JSON: {str(error).lower()}") from error
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


def _image_bytes(value: Any) -> int:
    """Bytes of the base64 of a request's images, which may be long."""
    if not isinstance(value, dict):
        return 0
    messages = value.get("messages")
    size_bytes = 0
    for holder in (value, *(messages if isinstance(messages, list) else ())):
        images = holder.get("images") if isinstance(holder, dict) else None
        for image in images if isinstance(images, list) else ():
            size_bytes += len(image) if isinstance(image, str) and image.isascii() else 0
    return size_bytes


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
