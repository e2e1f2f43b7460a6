"""The functions of templates: Go's predefined ones and Ollama's, with what each takes.

`and`, `or` and `call` are here by name only: the evaluator carries them out itself, because the
first two leave arguments unevaluated and no value of ours can be called.
"""

import datetime
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from olmkit.modelfile.gotemplate.evaluation import comparison, escaping
from olmkit.modelfile.gotemplate.evaluation.toolschema import typescript_type
from olmkit.modelfile.gotemplate.evaluation.values import (
    Byte,
    Kind,
    SchemaTypes,
    Struct,
    TypedList,
    TypedMap,
    kind_of,
    type_name,
)
from olmkit.modelfile.gotemplate.limits import Execution
from olmkit.modelfile.gotemplate.printing.gojson import encode_json
from olmkit.modelfile.gotemplate.printing.goquoting import byte_length, from_bytes, to_bytes
from olmkit.modelfile.gotemplate.printing.printf import format_values
from olmkit.modelfile.gotemplate.printing.verbs import print_all, print_line
from olmkit.modelfile.gotemplate.templateerrors import FunctionFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A template function.

    `carry_out` is given the execution and the arguments, and raises `FunctionFailed` for values
    that it cannot take. The first `required` arguments must be there, `most` says how many may be
    (None: any number), and the first `strings` ones must be strings.
    """

    carry_out: Callable[..., object]
    required: int = 1
    most: int | None = 1
    strings: int = 0
    pair: Callable[[Execution, object, object], object] | None = None
    """A quicker way for exactly two arguments."""


def length(execution: Execution, value: object) -> int:
    """`len`: elements of a list or map, bytes of a string."""
    if isinstance(value, str):
        execution.step(0 if value.isascii() else len(value) >> 6)
        return byte_length(value)
    if isinstance(value, list | tuple | dict):
        return len(value)
    kind = kind_of(value)
    raise FunctionFailed(
        "len of nil pointer" if kind is Kind.NIL else f"len of type {type_name(value)}"
    )


def index(execution: Execution, value: object, *keys: object) -> object:
    """`index`: the element at a place, of a map the value of a key, one level a key."""
    if value is None:
        raise FunctionFailed("index of untyped nil")
    for key in keys:
        if value is None:
            raise FunctionFailed("index of nil pointer")
        if isinstance(value, dict):
            if not isinstance(key, str):
                raise FunctionFailed(_bad_key(key))
            value = value.get(key, value.zero if isinstance(value, TypedMap) else None)
        elif isinstance(value, list | tuple):
            value = value[_place(key, len(value) - 1)]
        elif isinstance(value, str):
            execution.step(len(value) >> 6)
            data = to_bytes(value)
            value = Byte(data[_place(key, len(data) - 1)])
        else:
            raise FunctionFailed(f"can't index item of type {type_name(value)}")
    return value


def slice_of(execution: Execution, value: object, *places: object) -> object:
    """`slice`: part of a list or, by bytes, of a string; as many copies as elements are charged."""
    if value is None:
        raise FunctionFailed("slice of untyped nil")
    is_string = isinstance(value, str)
    if not is_string and not isinstance(value, list | tuple):
        raise FunctionFailed(f"can't slice item of type {type_name(value)}")
    if is_string and len(places) == 3:
        raise FunctionFailed("cannot 3-index slice a string")
    data = to_bytes(value) if isinstance(value, str) else value
    assert isinstance(data, bytes | list | tuple)
    start, end = slice_bounds(len(data), places)
    execution.allocate(end - start)
    part = data[start:end]
    if isinstance(part, bytes):
        execution.step(len(data) >> 6)
        return from_bytes(part)
    if isinstance(value, TypedList):
        return TypedList(value.type_name, part)
    return SchemaTypes(part) if isinstance(value, SchemaTypes) else part


def slice_bounds(size: int, places: tuple[object, ...]) -> tuple[int, int]:
    """Where a slice of a list of `size` elements starts and ends.

    Raises:
        FunctionFailed: no such places.
    """
    if len(places) > 3:
        raise FunctionFailed(f"too many slice indexes: {len(places)}")
    bounds = [0, size, size]
    for number, place in enumerate(places):
        bounds[number] = _place(place, size)
    for lower, upper in ((bounds[0], bounds[1]), (bounds[1], bounds[2])):
        if lower > upper:
            raise FunctionFailed(f"invalid slice index: {lower} > {upper}")
    return bounds[0], bounds[1]


def _place(key: object, last: int) -> int:
    if key is None:
        raise FunctionFailed("cannot index slice/array with nil")
    if not isinstance(key, int) or isinstance(key, bool):
        raise FunctionFailed(f"cannot index slice/array with type {type_name(key)}")
    if not 0 <= key <= last:
        raise FunctionFailed(f"index out of range: {int(key)}")
    return key


def _bad_key(key: object) -> str:
    if key is None:
        return "value is nil; should be of type string"
    return f"value has type {type_name(key)}; should be string"


def negation(_: Execution, value: object) -> bool:
    """`not`."""
    return not value


def json(execution: Execution, value: object) -> str:
    """`json` of Ollama: Go's JSON, nothing for what has none."""
    try:
        return encode_json(value, execution)
    except FunctionFailed:
        return ""


def current_date(execution: Execution, *_: object) -> str:
    """`currentDate` of Ollama; layouts given to it are ignored, as there."""
    return _today(execution).isoformat()


def yesterday_date(execution: Execution, *_: object) -> str:
    """`yesterdayDate` of Ollama."""
    return (_today(execution) - datetime.timedelta(days=1)).isoformat()


def _today(execution: Execution) -> datetime.date:
    if execution.today is None:
        raise FunctionFailed("the date is not known here")
    return execution.today


def to_typescript_type(_: Execution, value: object) -> str:
    """`toTypeScriptType` of Ollama: the type of a tool's property."""
    return typescript_type(value) if isinstance(value, Struct) else "any"


def _evaluated_elsewhere(_: Execution, *values: object) -> object:
    raise AssertionError("the evaluator carries this out")


GO_FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "and": Function(carry_out=_evaluated_elsewhere, most=None),
        "or": Function(carry_out=_evaluated_elsewhere, most=None),
        "call": Function(carry_out=_evaluated_elsewhere, most=None),
        "not": Function(carry_out=negation),
        "len": Function(carry_out=length),
        "index": Function(carry_out=index, most=None),
        "slice": Function(carry_out=slice_of, most=None),
        "eq": Function(carry_out=comparison.equal, most=None, pair=comparison.equal_pair),
        "ne": Function(carry_out=comparison.not_equal, required=2, most=2),
        "lt": Function(carry_out=comparison.less, required=2, most=2),
        "le": Function(carry_out=comparison.less_or_equal, required=2, most=2),
        "gt": Function(carry_out=comparison.greater, required=2, most=2),
        "ge": Function(carry_out=comparison.greater_or_equal, required=2, most=2),
        "print": Function(carry_out=lambda e, *v: print_all(v, e), required=0, most=None),
        "println": Function(carry_out=lambda e, *v: print_line(v, e), required=0, most=None),
        "printf": Function(
            carry_out=lambda e, form, *v: format_values(form, v, e), most=None, strings=1
        ),
        "html": Function(carry_out=escaping.html, required=0, most=None),
        "urlquery": Function(carry_out=escaping.url_query, required=0, most=None),
    }
)

FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        **GO_FUNCTIONS,
        "json": Function(carry_out=json),
        "currentDate": Function(carry_out=current_date, required=0, most=None, strings=sys.maxsize),
        "yesterdayDate": Function(
            carry_out=yesterday_date, required=0, most=None, strings=sys.maxsize
        ),
        "toTypeScriptType": Function(carry_out=to_typescript_type),
    }
)
"""Everything that templates of models may call."""
