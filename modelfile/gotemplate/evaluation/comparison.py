"""Go templates' comparisons: kinds must match, only whole numbers of either sign mix.

Source: https://pkg.go.dev/text/template#hdr-Functions, the comparison functions.
"""

from olmkit.modelfile.gotemplate.evaluation.values import Kind, Struct, is_nil, kind_of, type_name
from olmkit.modelfile.gotemplate.limits import Execution
from olmkit.modelfile.gotemplate.printing.verbs import Printer, print_all
from olmkit.modelfile.gotemplate.templateerrors import FunctionFailed

_BASIC = frozenset((Kind.BOOL, Kind.INT, Kind.UINT, Kind.FLOAT, Kind.STRING))
_ORDERED = frozenset((Kind.INT, Kind.UINT, Kind.FLOAT, Kind.STRING))
_INTEGERS = frozenset((Kind.INT, Kind.UINT))
_FREE_CHARS = 256


def equal(execution: Execution, first: object, *others: object) -> bool:
    """`eq`: whether the first value equals any of the others.

    Raises:
        FunctionFailed: no others, or values that Go cannot compare.
    """
    if not others:
        raise FunctionFailed("missing argument for comparison")
    return any(equal_pair(execution, first, other) for other in others)


def not_equal(execution: Execution, first: object, second: object) -> bool:
    """`ne`."""
    return not equal_pair(execution, first, second)


def less(execution: Execution, first: object, second: object) -> bool:
    """`lt`.

    Raises:
        FunctionFailed: kinds that differ or have no order.
    """
    return _order(execution, first, second) < 0


def less_or_equal(execution: Execution, first: object, second: object) -> bool:
    """`le`; as in Go, NaN is neither."""
    return _order(execution, first, second) <= 0


def greater(execution: Execution, first: object, second: object) -> bool:
    """`gt`, which Go defines as not `le`."""
    return not less_or_equal(execution, first, second)


def greater_or_equal(execution: Execution, first: object, second: object) -> bool:
    """`ge`, which Go defines as not `lt`."""
    return not less(execution, first, second)


def equal_pair(execution: Execution, first: object, second: object) -> bool:
    """`eq` of two values.

    Raises:
        FunctionFailed: values that Go cannot compare.
    """
    if type(first) is str and type(second) is str:
        _charge(execution, first, second)
        return first == second
    kind, other = kind_of(first), kind_of(second)
    if kind in _BASIC and other in _BASIC:
        if kind is not other and not (kind in _INTEGERS and other in _INTEGERS):
            raise _incompatible(first, second)
        return first == second
    if kind is Kind.NIL or other is Kind.NIL:
        return is_nil(first) and is_nil(second)
    if kind in _BASIC or other in _BASIC:
        raise _incompatible(first, second)
    return _is_same(execution, first, second, kind, other)


def _is_same(execution: Execution, first: object, second: object, kind: Kind, other: Kind) -> bool:
    """Equality of lists, maps and structs, which Go defines for nil and pointers only."""
    if kind is not other:
        shown = f"{_shown(first, execution)}: {type_name(first)}"
        other_shown = f"{type_name(second)}: {print_all([second], execution)}"
        raise FunctionFailed(f"non-comparable types {shown}, {other_shown}")
    if is_nil(first) or is_nil(second):
        return is_nil(first) == is_nil(second)
    if isinstance(second, Struct):
        return first is second
    raise FunctionFailed(f"non-comparable type {_shown(second, execution)}: {type_name(second)}")


def _order(execution: Execution, first: object, second: object) -> float:
    """Negative, zero or positive as the first is less, equal or greater; NaN when unordered."""
    kind, other = kind_of(first), kind_of(second)
    if kind not in _BASIC or other not in _BASIC:
        raise FunctionFailed("invalid type for comparison")
    if kind is not other and not (kind in _INTEGERS and other in _INTEGERS):
        raise _incompatible(first, second)
    if kind not in _ORDERED:
        raise FunctionFailed("invalid type for comparison")
    if isinstance(first, str) and isinstance(second, str):
        _charge(execution, first, second)
        return (first > second) - (first < second)
    assert isinstance(first, int | float) and isinstance(second, int | float)
    if first != first or second != second:
        return float("nan")
    return (first > second) - (first < second)


def _charge(execution: Execution, first: str, second: str) -> None:
    """Steps for comparing long strings."""
    shorter = min(len(first), len(second))
    if shorter > _FREE_CHARS:
        execution.step(shorter // _FREE_CHARS)


def _incompatible(first: object, second: object) -> FunctionFailed:
    return FunctionFailed(
        f"incompatible types for comparison: {type_name(first)} and {type_name(second)}"
    )


def _shown(value: object, execution: Execution) -> str:
    """The value as Go's `%s`, which is what these errors quote."""
    printer = Printer(execution)
    printer.print(value, "s")
    return printer.text()
