"""Go's numbers as text: constants in templates, and how values print.

Source: https://go.dev/ref/spec#Integer_literals, strconv.ParseInt/ParseFloat with base 0, and
strconv.FormatFloat.
"""

import math
import re

_INTEGER = re.compile(
    r"[+-]?(?:0[xX](?P<hex>(?:_?[0-9a-fA-F])+)|0[oO](?P<oct>(?:_?[0-7])+)|0[bB](?P<bin>(?:_?[01])+)"
    r"|(?P<old>0(?:_?[0-7])+)|(?P<dec>0|[1-9](?:_?[0-9])*))"
)
_FLOAT = re.compile(
    r"[+-]?(?:[0-9](?:_?[0-9])*\.?(?:[0-9](?:_?[0-9])*)?|\.[0-9](?:_?[0-9])*)"
    r"(?:[eE][+-]?[0-9](?:_?[0-9])*)?"
)
_HEXADECIMAL_FLOAT = re.compile(r"0[xX].*[.pP]")
_LONGEST_CONSTANT = 400
_MAX_INT = (1 << 63) - 1
_MAX_UINT = (1 << 64) - 1
_PLAIN_DIGITS = 6
"""Numbers with more digits than this before the point print as `1e+06`, or `1.234567e+06`."""


class InvalidNumber(Exception):
    """A constant that Go refuses; never leaves the package."""


def parse_constant(text: str) -> int | float | None:
    """The value of a numeric constant in a template; None for one that overflows Go's int.

    Raises:
        InvalidNumber: no number in Go, or one of the kinds that no template of a model uses:
            complex numbers, and floats in hexadecimal.
    """
    if len(text) > _LONGEST_CONSTANT:
        raise InvalidNumber(f'illegal number syntax: "{text[:20]}…"')
    if text.endswith("i"):
        raise InvalidNumber(f'complex numbers are not supported: "{text}"')
    integer = _parse_integer(text)
    if integer is not None and -_MAX_INT - 1 <= integer <= _MAX_UINT:
        return integer if integer <= _MAX_INT else None
    if _HEXADECIMAL_FLOAT.search(text):
        raise InvalidNumber(f'hexadecimal floats are not supported: "{text}"')
    number = _parse_float(text)
    if number is None:
        raise InvalidNumber(f'illegal number syntax: "{text}"')
    if not any(mark in text for mark in ".eE"):
        raise InvalidNumber(f'integer overflow: "{text}"')
    return number


def _parse_integer(text: str) -> int | None:
    match = _INTEGER.fullmatch(text)
    if match is None:
        return None
    base = {"hex": 16, "oct": 8, "bin": 2, "old": 8, "dec": 10}[match.lastgroup or "dec"]
    value = int(match[match.lastgroup or "dec"].replace("_", ""), base)
    return -value if text.startswith("-") else value


def _parse_float(text: str) -> float | None:
    if not _FLOAT.fullmatch(text):
        return None
    value = float(text)
    return None if math.isinf(value) else value


def format_float(value: float, verb: str = "g", precision: int = -1) -> str:
    """A float as Go's strconv.FormatFloat prints it; precision -1 is the shortest that round-trips.

    `verb` is one of `e E f g G`. `+Inf`, `-Inf` and `NaN` as in Go.
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if precision < 0:
        return _shortest(value, verb)
    if verb in "gG":
        return f"{value:.{max(precision, 1)}{verb}}"
    return f"{value:.{precision}{verb}}"


def _shortest(value: float, verb: str) -> str:
    if verb == "g" and 1e-4 <= abs(value) < 1e6:
        return repr(value).removesuffix(".0")
    sign = "-" if math.copysign(1, value) < 0 else ""
    digits, exponent = _shortest_digits(abs(value))
    if verb in "eE" or (verb in "gG" and not -4 <= exponent < _PLAIN_DIGITS):
        tail = f".{digits[1:]}" if len(digits) > 1 else ""
        mark = "e" if verb in "eg" else "E"
        return f"{sign}{digits[0]}{tail}{mark}{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    fraction = digits[exponent + 1 :]
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def _shortest_digits(value: float) -> tuple[str, int]:
    """The fewest significant digits that round-trip, and the decimal exponent of the first."""
    mantissa, _, exponent = f"{value!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    shift = int(exponent or 0)
    if not digits:
        return "0", 0
    leading = len(whole) if whole.strip("0") else len(digits) - len(fraction)
    return digits.rstrip("0") or "0", leading - 1 + shift
