"""What templates work on: Go's kinds for Python values, and values with a Go type of their own.

Plain data is `None`, `bool`, `int`, `float`, `str`, lists (or tuples) and dicts with string keys;
they stand for Go's nil, bool, int, float64, string, []any and map[string]any. Whole numbers stay
whole: where Ollama turns every JSON number into a float64 and prints 1.7e+09, olm prints
1700000000.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final

from olmkit.modelfile.gotemplate.templateerrors import FunctionFailed


class Kind(Enum):
    """Go's kinds, as far as comparing and printing tell them apart."""

    NIL = "nil"
    BOOL = "bool"
    INT = "int"
    UINT = "uint8"
    FLOAT = "float64"
    STRING = "string"
    LIST = "[]interface {}"
    MAP = "map[string]interface {}"
    STRUCT = "struct"


class _Null:
    """A null that a range came across: unlike nil, asking it for a field is an error."""


NULL: Final = _Null()


class Byte(int):
    """An element of a string (Go's uint8)."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a struct type: its name in templates and in JSON."""

    name: str
    json_name: str
    omit_empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StructType:
    """A Go struct type: its name in errors, its fields in order, whether it prints as JSON."""

    name: str
    fields: tuple[Field, ...]
    prints_json: bool = False


class Struct:
    """A value of a `StructType`; a name that is no field is an error, never missing."""

    __slots__ = ("fields", "type")

    def __init__(self, type: StructType, fields: dict[str, object]) -> None:
        self.type = type
        self.fields = fields


class TypedList(list[object]):
    """A list with a Go type of its own that prints as JSON; None given for it is a nil list."""

    __slots__ = ("is_nil", "type_name")

    def __init__(self, type_name: str, values: Sequence[object] | None) -> None:
        super().__init__(values or ())
        self.type_name = type_name
        self.is_nil = values is None


class TypedMap(dict[str, object]):
    """A map with a Go type of its own that prints as JSON; `zero` is what missing keys give."""

    __slots__ = ("type_name", "zero")

    def __init__(
        self, type_name: str, values: Mapping[str, object], *, zero: object = None
    ) -> None:
        super().__init__(values)
        self.type_name = type_name
        self.zero = zero


class MissingField(FunctionFailed):
    """An object has no member of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f'map has no entry for key "{name}"')
        self.name = name


class Named(dict[str, object]):
    """An object whose members go by other names too; a name that it lacks is an error.

    `others` are further members that JSON does not show. `.ModifiedAt` finds `modified_at`.
    """

    __slots__ = ("others",)

    def __init__(
        self, members: Mapping[str, object], others: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(members)
        self.others = others or {}

    def member(self, name: str) -> object:
        """The member of that name.

        Raises:
            MissingField: there is none.
        """
        for members in (self.others, self):
            if name in members:
                return members[name]
        folded = _folded(name)
        for key, value in self.items():
            if _folded(key) == folded:
                return value
        raise MissingField(name)


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def named(value: Mapping[str, object], others: Mapping[str, object] | None = None) -> Named:
    """Decoded JSON whose objects, at any depth, are `Named`; `others` are the outermost's."""
    return Named({key: _named(element) for key, element in value.items()}, others)


def _named(value: object) -> object:
    if isinstance(value, Mapping):
        return value if isinstance(value, Named) else named(value)
    if isinstance(value, list | tuple):
        return [_named(element) for element in value]
    return from_json(value)


class SchemaTypes(list[object]):
    """The types of a JSON schema: one prints bare (`string`), several as `[string null]`."""

    __slots__ = ()
    type_name: ClassVar[str] = "api.PropertyType"


_KINDS: Final[dict[type, Kind]] = {
    type(None): Kind.NIL,
    _Null: Kind.NIL,
    bool: Kind.BOOL,
    int: Kind.INT,
    Byte: Kind.UINT,
    float: Kind.FLOAT,
    str: Kind.STRING,
    list: Kind.LIST,
    tuple: Kind.LIST,
    TypedList: Kind.LIST,
    SchemaTypes: Kind.LIST,
    dict: Kind.MAP,
    TypedMap: Kind.MAP,
    Named: Kind.MAP,
    Struct: Kind.STRUCT,
}


def kind_of(value: object) -> Kind:
    """The kind of a value.

    Raises:
        FunctionFailed: the caller passed a Python type that templates do not know.
    """
    kind = _KINDS.get(type(value))
    if kind is None:
        raise FunctionFailed(f"templates cannot use a Python {type(value).__name__}")
    return kind


def type_name(value: object) -> str:
    """The name of the value's Go type, as in errors and in `%T`."""
    if isinstance(value, Struct):
        return f"*{value.type.name}"
    if isinstance(value, TypedList | TypedMap | SchemaTypes):
        return value.type_name
    kind = kind_of(value)
    return "interface {}" if kind is Kind.NIL else kind.value


def is_nil(value: object) -> bool:
    """Whether the value is nil, of any type."""
    return value is None or value is NULL or (type(value) is TypedList and value.is_nil)


def from_json(value: object) -> object:
    """Decoded JSON as values of a template; integers beyond 64 bits become floats, as in Go."""
    if isinstance(value, Mapping):
        return {key: from_json(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [from_json(element) for element in value]
    if type(value) is int and not -(1 << 63) <= value < 1 << 64:
        return float(value) if abs(value) < 1 << 1023 else math.copysign(math.inf, value)
    return value


def sorted_items(mapping: Mapping[str, object]) -> list[tuple[str, object]]:
    """The entries of a map in Go's order, which is that of the keys' bytes.

    Raises:
        FunctionFailed: the caller passed a key that is no string.
    """
    if not all(type(key) is str for key in mapping):
        raise FunctionFailed("templates need maps with string keys")
    return sorted(mapping.items(), key=_key)


def _key(entry: tuple[str, object]) -> str:
    return entry[0]
