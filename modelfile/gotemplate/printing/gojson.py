"""Values as Go's encoding/json writes them: compact, keys sorted, `<`, `>` and `&` escaped.

Source: https://pkg.go.dev/encoding/json#Marshal.
"""

import math
import re

from olmkit.modelfile.gotemplate.evaluation.values import (
    Kind,
    SchemaTypes,
    Struct,
    is_nil,
    kind_of,
    sorted_items,
)
from olmkit.modelfile.gotemplate.limits import Execution
from olmkit.modelfile.gotemplate.printing.numbers import format_float
from olmkit.modelfile.gotemplate.templateerrors import FunctionFailed

_SPECIAL = re.compile('["\\\\<>&\x00-\x1f\u2028\u2029\ud800-\udfff]')
_SHORT = {
    '"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
}  # fmt: skip
_CHUNK = 65_536


def encode_json(value: object, execution: Execution) -> str:
    """The JSON of a value; a nil list is `null`, whole floats have no point.

    Raises:
        FunctionFailed: infinity or NaN, which JSON has not.
        TemplateLimitExceeded: too much text.
    """
    parts: list[str] = []
    _encode(value, parts, execution)
    return "".join(parts)


def _encode(value: object, parts: list[str], execution: Execution) -> None:
    execution.step(1)
    kind = kind_of(value)
    if isinstance(value, Struct):
        _encode_struct(value, parts, execution)
    elif is_nil(value):
        _put("null", parts, execution)
    elif isinstance(value, SchemaTypes) and len(value) == 1:
        _encode(value[0], parts, execution)
    elif isinstance(value, str):
        _encode_string(value, parts, execution)
    elif isinstance(value, list | tuple):
        _put("[", parts, execution)
        for index, element in enumerate(value):
            if index:
                parts.append(",")
            _encode(element, parts, execution)
        parts.append("]")
    elif isinstance(value, dict):
        _encode_map(value, parts, execution)
    elif isinstance(value, float):
        _put(_number(value), parts, execution)
    else:
        _put(str(value).lower() if kind is Kind.BOOL else integer_text(value), parts, execution)


def _encode_map(value: dict[str, object], parts: list[str], execution: Execution) -> None:
    _put("{", parts, execution)
    for index, (key, element) in enumerate(sorted_items(value)):
        if index:
            parts.append(",")
        _encode_string(key, parts, execution)
        parts.append(":")
        _encode(element, parts, execution)
    parts.append("}")


def _encode_struct(value: Struct, parts: list[str], execution: Execution) -> None:
    opening = "{"
    for field in value.type.fields:
        element = value.fields[field.name]
        if field.omit_empty and not element:
            continue
        _put(f'{opening}"{field.json_name}":', parts, execution)
        _encode(element, parts, execution)
        opening = ","
    parts.append("}" if opening == "," else "{}")


def _encode_string(text: str, parts: list[str], execution: Execution) -> None:
    parts.append('"')
    for start in range(0, len(text), _CHUNK):
        part, escapes = _SPECIAL.subn(_escape, text[start : start + _CHUNK])
        execution.step(escapes)
        _put(part, parts, execution)
    parts.append('"')


def _put(text: str, parts: list[str], execution: Execution) -> None:
    execution.allocate(len(text) + 2)
    parts.append(text)


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    if "\ud800" <= char <= "\udfff":
        return "\\ufffd"
    return _SHORT.get(char) or f"\\u{ord(char):04x}"


def _number(value: float) -> str:
    if math.isnan(value) or math.isinf(value):
        raise FunctionFailed(f"json: unsupported value: {format_float(value)}")
    text = repr(value)
    if "e" not in text:
        return text.removesuffix(".0")
    size = abs(value)
    if size and not 1e-6 <= size < 1e21:
        text = format_float(value, "e")
        return re.sub(r"e-0(\d)$", r"e-\1", text)
    return format_float(value, "f")


def integer_text(value: object) -> str:
    """The decimal digits of an int.

    Raises:
        FunctionFailed: it is larger than any of Go's integers.
    """
    assert isinstance(value, int)
    if not -(1 << 63) <= value < 1 << 64:
        raise FunctionFailed("integer overflows 64 bits")
    return int.__repr__(value)
