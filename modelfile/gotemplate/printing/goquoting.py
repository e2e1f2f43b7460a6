"""Go's quoted strings, runes and bytes, both ways.

Go strings are bytes and Python's are characters. Bytes that are not UTF-8 (made by `"\\xff"` or by
slicing inside a character) are held as lone surrogates, Python's own `surrogateescape` form, and
join into characters again when their neighbours arrive; `clean` settles what is left at the end.
"""

import re

_ESCAPE = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\'\"])|x(?P<byte>[0-9a-fA-F]{2})|(?P<octal>[0-7]{3})"
    r"|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8}))|\\"
)
_SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"',
}  # fmt: skip
_SIMPLE_OF = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
    "\\": "\\\\",
}  # fmt: skip
_LONE = re.compile("[\ud800-\udfff]")
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


class InvalidQuoting(Exception):
    """A quoted string or rune that Go refuses; never leaves the package."""


def to_bytes(text: str) -> bytes:
    """The UTF-8 of a string; lone surrogates are the bytes they stand for."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return _NO_BYTE.sub("\ufffd", text).encode("utf-8", "surrogateescape")


def from_bytes(data: bytes) -> str:
    """The string of these bytes, those outside UTF-8 as lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def clean(text: str) -> str:
    """The text with broken bytes joined where they fit and U+FFFD where they do not."""
    if text.isascii() or not _LONE.search(text):
        return text
    return to_bytes(text).decode("utf-8", "replace")


def byte_length(text: str) -> int:
    """How many bytes the string has in Go."""
    return len(text) if text.isascii() else len(to_bytes(text))


def unquote(quoted: str) -> str:
    """What a Go string literal, quoted or raw, means.

    Raises:
        InvalidQuoting: an escape that Go does not know.
    """
    inner = quoted[1:-1]
    if quoted.startswith("`"):
        return inner.replace("\r", "")
    if "\\" not in inner:
        return inner
    if re.search(r"(?<!\\)(?:\\\\)*\\'", inner):
        raise InvalidQuoting("invalid syntax")
    text = _ESCAPE.sub(_unescape, inner)
    return from_bytes(to_bytes(text)) if _LONE.search(text) else text


def unquote_rune(quoted: str) -> int:
    """The code point of a Go character constant such as `'a'` or `'\\n'`.

    Raises:
        InvalidQuoting: not exactly one character.
    """
    inner = quoted[1:-1]
    if len(inner) == 1 and inner not in "\\'":
        return ord(inner)
    match = _ESCAPE.fullmatch(inner)
    if match is None or match["simple"] == '"':
        problem = "invalid syntax" if match or inner[:1] in ("", "\\") else None
        raise InvalidQuoting(problem or f"malformed character constant: {quoted}")
    if match["byte"] or match["octal"]:
        return int(match["byte"], 16) if match["byte"] else _octal(match["octal"])
    return ord(_unescape(match))


def _unescape(match: re.Match[str]) -> str:
    if match["simple"]:
        return _SIMPLE[match["simple"]]
    if match["byte"] or match["octal"]:
        byte = int(match["byte"], 16) if match["byte"] else _octal(match["octal"])
        return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)
    digits = match["short"] or match["long"]
    code = int(digits, 16) if digits else -1
    if code < 0 or code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise InvalidQuoting("invalid syntax")
    return chr(code)


def _octal(digits: str) -> int:
    value = int(digits, 8)
    if value > 0xFF:
        raise InvalidQuoting("invalid syntax")
    return value


def quote(text: str, *, ascii_only: bool = False, mark: str = '"') -> str:
    """The text as a Go string constant (Go's `%q`), or as a rune with another `mark`."""
    return mark + "".join(_quoted(char, ascii_only, mark) for char in text) + mark


def _quoted(char: str, ascii_only: bool, mark: str) -> str:
    if char == mark:
        return "\\" + char
    if char in _SIMPLE_OF:
        return _SIMPLE_OF[char]
    code = ord(char)
    if (code < 0x80 or not ascii_only) and char.isprintable():
        return char
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def describe_rune(char: str) -> str:
    """A character as Go's `%#U`: `U+0041 'A'`."""
    return f"U+{ord(char):04X}" + (f" '{char}'" if char.isprintable() else "")
