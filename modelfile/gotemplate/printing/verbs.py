"""How values print: `{{ . }}`, `print`, `println`, and the verbs of `printf`, as Go's package fmt.

Source: https://pkg.go.dev/fmt#hdr-Printing. One difference: what prints as JSON (tools, arguments)
does so wherever it stands. Everything written is charged to the execution before it is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from olmkit.modelfile.gotemplate.evaluation.values import (
    Kind,
    SchemaTypes,
    Struct,
    TypedList,
    TypedMap,
    kind_of,
    sorted_items,
    type_name,
)
from olmkit.modelfile.gotemplate.limits import Execution
from olmkit.modelfile.gotemplate.printing.gojson import encode_json, integer_text
from olmkit.modelfile.gotemplate.printing.goquoting import clean, describe_rune, quote, to_bytes
from olmkit.modelfile.gotemplate.printing.numbers import format_float
from olmkit.modelfile.gotemplate.templateerrors import FunctionFailed


def value_text(value: object, execution: Execution) -> str:
    """The text that `{{ value }}` prints; nil is `<no value>`.

    Raises:
        FunctionFailed: a Python type that templates do not know.
        TemplateLimitExceeded: too much text.
    """
    if value is None:
        return "<no value>"
    if type(value) is str:
        return value
    printer = Printer(execution)
    printer.print(value, "v")
    return printer.text()


def print_all(values: Sequence[object], execution: Execution) -> str:
    """Go's `print`: a space only between two neighbours neither of which is a string."""
    printer = Printer(execution)
    previous_is_string = True
    for value in values:
        is_string = type(value) is str
        if not is_string and not previous_is_string:
            printer.write(" ")
        printer.print(value, "v")
        previous_is_string = is_string
    return printer.text()


def print_line(values: Sequence[object], execution: Execution) -> str:
    """Go's `println`: spaces between all, and a newline."""
    printer = Printer(execution)
    for index, value in enumerate(values):
        if index:
            printer.write(" ")
        printer.print(value, "v")
    printer.write("\n")
    return printer.text()


@dataclass(slots=True, kw_only=True)
class Flags:
    """What stands between `%` and its verb."""

    plus: bool = False
    minus: bool = False
    sharp: bool = False
    space: bool = False
    zero: bool = False
    width: int | None = None
    precision: int | None = None
    sharp_v: bool = False
    plus_v: bool = False


_CHUNK = 65_536
_ADDRESS = "0xc000010000"
"""What `%p` says for every list and map: here they have no address."""


class Printer:
    """Writes values by verb under one set of flags."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self.flags = Flags()
        self.is_reporting = False
        self._parts: list[str] = []

    def text(self) -> str:
        """Everything written."""
        return "".join(self._parts)

    def write(self, text: str) -> None:
        """Text as it is."""
        self.execution.allocate(len(text))
        self._parts.append(text)

    def print(self, value: object, verb: str, *, is_nested: bool = False) -> None:
        """One value under a verb of one character."""
        self.execution.step(1)
        kind = kind_of(value)
        if verb == "T" and not is_nested:
            self._pad("<nil>" if kind is Kind.NIL else self._cut(type_name(value)))
        elif kind is Kind.NIL:
            self._nil(verb, is_nested=is_nested)
        elif isinstance(value, str):
            self._string(value, value, verb)
        elif isinstance(value, bool):
            if verb in "tv":
                self._pad("true" if value else "false")
            else:
                self._wrong_verb(value, verb)
        elif isinstance(value, int):
            self._integer(value, verb)
        elif isinstance(value, float):
            self._float(value, verb)
        else:
            self._composite(value, verb, is_nested=is_nested)

    def _composite(self, value: object, verb: str, *, is_nested: bool) -> None:
        text = None
        if verb in "vsxXq" and not self.flags.sharp_v and not self.is_reporting:
            text = own_text(value, self.execution)
        if text is not None:
            self._string(text, value, verb)
        elif verb == "w":
            self._wrong_verb(value, verb)
        elif verb == "p" and not is_nested:
            self.write(_ADDRESS)
        elif isinstance(value, Struct):
            self._struct(value, verb)
        elif isinstance(value, dict):
            self._sequence(
                value, "map[", "]", verb, [entry for item in sorted_items(value) for entry in item]
            )
        elif isinstance(value, list | tuple):
            self._sequence(value, "[", "]", verb, value)

    def _nil(self, verb: str, *, is_nested: bool) -> None:
        if is_nested:
            self.write("interface {}(nil)" if self.flags.sharp_v else "<nil>")
        elif verb == "v":
            self._pad("<nil>")
        else:
            self.write(f"%!{verb}(<nil>)")

    def _wrong_verb(self, value: object, verb: str) -> None:
        self.is_reporting = True
        self.write(f"%!{verb}({type_name(value)}=")
        self.print(value, "v", is_nested=True)
        self.write(")")
        self.is_reporting = False

    # Lists, maps, structs

    def _sequence(
        self, value: object, opening: str, closing: str, verb: str, elements: Sequence[object]
    ) -> None:
        separator = " "
        if self.flags.sharp_v:
            opening, closing, separator = f"{type_name(value)}{{", "}", ", "
        is_map = isinstance(value, dict)
        self.write(opening)
        for index, element in enumerate(elements):
            if index:
                self.write(":" if is_map and index % 2 else separator)
            self.print(element, verb, is_nested=True)
        self.write(closing)

    def _struct(self, value: Struct, verb: str) -> None:
        named = self.flags.sharp_v or self.flags.plus_v
        self.write(f"{value.type.name}{{" if self.flags.sharp_v else "{")
        for index, field in enumerate(value.type.fields):
            if index:
                self.write(", " if self.flags.sharp_v else " ")
            if named:
                self.write(f"{field.name}:")
            self.print(value.fields[field.name], verb, is_nested=True)
        self.write("}")

    # Strings

    def _string(self, text: str, value: object, verb: str) -> None:
        if verb in "vs" and not (verb == "v" and self.flags.sharp_v):
            self._pad(self._cut(text))
        elif verb in "vq":
            self._quoted(self._cut(text))
        elif verb in "xX":
            self._hexadecimal(text, verb)
        else:
            self._wrong_verb(value, verb)

    def _cut(self, text: str) -> str:
        return text if self.flags.precision is None else text[: self.flags.precision]

    def _quoted(self, text: str) -> None:
        self.execution.step(len(text) >> 2)
        text = clean_for_quoting(text)
        if self.flags.sharp and not any(
            char in "`\ufeff\x7f" or (char < " " and char != "\t") or "\ud800" <= char <= "\udfff"
            for char in text
        ):
            self._pad(f"`{text}`")
            return
        parts: list[str] = []
        for start in range(0, len(text), _CHUNK):
            part = quote(text[start : start + _CHUNK], ascii_only=self.flags.plus)
            self.execution.allocate(len(part))
            parts.append(part[1:-1])
        self._pad(f'"{"".join(parts)}"')

    def _hexadecimal(self, text: str, verb: str) -> None:
        self.execution.allocate(5 * len(text))
        data = to_bytes(text)
        if self.flags.precision is not None:
            data = data[: self.flags.precision]
        prefix = f"0{verb}" if self.flags.sharp else ""
        digits = data.hex() if verb == "x" else data.hex().upper()
        if self.flags.space:
            pairs = [prefix + digits[i : i + 2] for i in range(0, len(digits), 2)]
            self._pad(" ".join(pairs))
        else:
            self._pad(prefix + digits if data else "")

    def _pad(self, text: str) -> None:
        """Text at the width asked for, padded with spaces, or with zeros on the left."""
        flags = self.flags
        missing = (flags.width or 0) - len(text)
        if missing <= 0:
            self.write(text)
            return
        self.execution.allocate(missing)
        if flags.minus:
            self.write(text + " " * missing)
        else:
            self.write(("0" if flags.zero else " ") * missing + text)

    # Numbers

    def _integer(self, value: int, verb: str) -> None:
        digits = integer_text(value)
        if verb in "vd":
            if self.flags.sharp_v and kind_of(value) is Kind.UINT:
                self.write(f"0x{value:x}")
            else:
                self._digits(digits.lstrip("-"), value < 0, 10, verb)
        elif verb in "boOxX":
            base = {"b": 2, "o": 8, "O": 8, "x": 16, "X": 16}[verb]
            self._digits(format(abs(value), verb.replace("O", "o")), value < 0, base, verb)
        elif verb in "cqU":
            self._character(value, verb)
        else:
            self._wrong_verb(value, verb)

    def _digits(self, digits: str, is_negative: bool, base: int, verb: str) -> None:
        """The digits of an integer with sign, prefix, zeros and padding."""
        flags = self.flags
        width, precision = flags.width, flags.precision
        if precision == 0 and digits == "0":
            self._pad_plain("")
            return
        least = 0
        if precision is not None:
            least = precision
        elif flags.zero and not flags.minus and width is not None:
            least = width - bool(is_negative or flags.plus or flags.space)
        self.execution.allocate(least)
        digits = digits.rjust(least, "0")
        if flags.sharp:
            prefix = {2: "0b", 8: "0", 16: "0x" if verb != "X" else "0X"}.get(base, "")
            if not (base == 8 and digits.startswith("0")):
                digits = prefix + digits
        if verb == "O":
            digits = "0o" + digits
        sign = "-" if is_negative else "+" if flags.plus else " " if flags.space else ""
        self._pad_plain(sign + digits)

    def _pad_plain(self, text: str) -> None:
        """Text padded with spaces only."""
        zero, self.flags.zero = self.flags.zero, False
        self._pad(text)
        self.flags.zero = zero

    def _character(self, value: int, verb: str) -> None:
        is_valid = 0 <= value <= 0x10FFFF and not 0xD800 <= value < 0xE000
        char = chr(value) if is_valid else "\ufffd"
        if verb == "c":
            self._pad(char)
        elif verb == "q":
            self._pad(quote(char, ascii_only=self.flags.plus, mark="'"))
        else:
            number = value if value >= 0 else value + (1 << 64)
            least = max(self.flags.precision or 0, 4)
            self.execution.allocate(least)
            shown = describe_rune(char).partition(" ")[2] if self.flags.sharp and is_valid else ""
            self._pad_plain(f"U+{number:0{least}X}" + (f" {shown}" if shown else ""))

    def _float(self, value: float, verb: str) -> None:
        if verb in "bxX":
            raise FunctionFailed(f"%{verb} of a float is not supported")
        if verb not in "vgGfFeE":
            self._wrong_verb(value, verb)
            return
        flags = self.flags
        form = {"v": "g", "F": "f"}.get(verb, verb)
        precision = flags.precision
        if precision is None:
            precision = 6 if form in "feE" else -1
        self.execution.allocate(max(precision, 0))
        text = format_float(value, form, precision)
        if text[0] not in "+-":
            text = "+" + text
        if flags.space and text[0] == "+" and not flags.plus:
            text = " " + text[1:]
        if text[1] in "IN":
            if text[1] == "N" and not flags.space and not flags.plus:
                text = text[1:]
            self._pad_plain(text)
            return
        if flags.sharp:
            text = _with_point(text, form, precision)
        self._signed(text)

    def _signed(self, text: str) -> None:
        flags = self.flags
        if not flags.plus and text[0] == "+":
            self._pad(text[1:])
        elif flags.zero and not flags.minus and flags.width is not None:
            missing = max(flags.width - len(text), 0)
            self.execution.allocate(missing)
            self.write(text[0] + "0" * missing + text[1:])
        else:
            self._pad(text)


def own_text(value: object, execution: Execution) -> str | None:
    """The text of a value whose type says how it prints, None for others."""
    if isinstance(value, SchemaTypes):
        if len(value) == 1:
            return str(value[0])
        return f"[{' '.join(map(str, value))}]" if value else ""
    if isinstance(value, TypedList | TypedMap) or (
        isinstance(value, Struct) and value.type.prints_json
    ):
        return encode_json(value, execution)
    return None


def clean_for_quoting(text: str) -> str:
    """The text with halves of characters joined; single broken bytes stay, to be escaped."""
    return text if clean(text) is text else to_bytes(text).decode("utf-8", "surrogateescape")


def _with_point(text: str, form: str, precision: int) -> str:
    """The `#` flag: always a point, and trailing zeros kept."""
    digits = 0
    if form in "gG":
        digits = 6 if precision == -1 else precision
    body, tail = text[1:], ""
    for mark in "eE":
        head, found, rest = body.partition(mark)
        if found:
            body, tail = head, mark + rest
    significant = body.replace(".", "").lstrip("0") if body != "0" else ""
    digits -= len(significant)
    if "." not in body:
        if body == "0":
            digits -= 1
        body += "."
    return text[0] + body + "0" * max(digits, 0) + tail
