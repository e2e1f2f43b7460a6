"""Values as JSON text, whatever the file system put into them.

Linux allows any bytes in a path, and Python carries those that are no UTF-8 as lone surrogates,
which JSON cannot (RFC 8259, section 8.2). They are written as `\\xff`, for people to read.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from olmkit.engine.framing import printable

_ENCODER: Final = msgspec.json.Encoder()


def encode_json(value: Any) -> bytes:
    """The value as JSON, in UTF-8."""
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        return _ENCODER.encode(_in_unicode(msgspec.to_builtins(value)))


def encode_lines(values: Sequence[Any]) -> bytes:
    """Each value as JSON, in UTF-8, on a line of its own."""
    try:
        return _ENCODER.encode_lines(values)
    except UnicodeEncodeError:
        return b"".join(encode_json(value) + b"\n" for value in values)


def _in_unicode(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): _in_unicode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_unicode(item) for item in value]
    return value
