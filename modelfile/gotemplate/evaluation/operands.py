"""Expressions of the tree made into Python closures: fields, variables, functions, pipelines.

Two nulls are kept apart as Go does: a null inside data has no fields (an error), while the result
of a pipeline that is nil gives nil for any field. So chains and `NULL` raise, `None` does not.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from olmkit.modelfile.gotemplate.evaluation.functions import (
    GO_FUNCTIONS,
    Function,
    length,
    slice_bounds,
    slice_of,
)
from olmkit.modelfile.gotemplate.evaluation.scope import Evaluate, Scope
from olmkit.modelfile.gotemplate.evaluation.values import (
    NULL,
    MissingField,
    Named,
    Struct,
    TypedMap,
    type_name,
)
from olmkit.modelfile.gotemplate.limits import Execution
from olmkit.modelfile.gotemplate.syntax.nodes import (
    BoolNode,
    ChainNode,
    CommandNode,
    DotNode,
    FieldNode,
    IdentifierNode,
    NilNode,
    Node,
    NumberNode,
    Operand,
    PipeNode,
    StringNode,
    VariableNode,
)
from olmkit.modelfile.gotemplate.templateerrors import FunctionFailed, TemplateExecutionError


def compile_pipe(pipe: PipeNode, scope: Scope) -> Evaluate:
    """A pipeline ready to be evaluated; declares its variables in the scope."""
    value: Evaluate | None = None
    for command in pipe.commands:
        value = _command(command, scope, value)
    assert value is not None
    for variable in pipe.variables:
        slot = _slot_to_set(variable, scope, is_assignment=pipe.is_assignment)
        if slot is None:
            message = f"undefined variable: {variable.names[0]}"
            return _failing(last_place(pipe), message, scope, after=value)
        value = _setting(slot, value)
    return value


def _slot_to_set(variable: VariableNode, scope: Scope, *, is_assignment: bool) -> int | None:
    """The slot that a declaration or assignment writes; None for assigning an unknown name."""
    name = variable.names[0]
    return scope.slot(name) if is_assignment else scope.declare(name)


def _setting(slot: int, value: Evaluate) -> Evaluate:
    def setting(execution: Execution, dot: object) -> object:
        result = execution.variables[slot] = value(execution, dot)
        return result

    return setting


def _failing(node: Node, message: str, scope: Scope, *, after: Evaluate | None = None) -> Evaluate:
    def failing(execution: Execution, dot: object) -> object:
        if after is not None:
            after(execution, dot)
        raise scope.error(node, message)

    return failing


# Commands


def _command(command: CommandNode, scope: Scope, final: Evaluate | None) -> Evaluate:
    """One command of a pipeline; `final` is the value that the bar hands to it."""
    first = command.operands[0]
    arguments = command.operands[1:]
    if isinstance(first, IdentifierNode):
        return _call(first, command, arguments, scope, final)
    if arguments or final is not None:
        return _failing(first, _no_function(first), scope, after=final)
    if isinstance(first, NilNode):
        return _failing(first, "nil is not a command", scope)
    return compile_operand(first, scope)


def _no_function(first: Operand) -> str:
    if isinstance(first, FieldNode | ChainNode) or (
        isinstance(first, VariableNode) and len(first.names) > 1
    ):
        return f"{first.names[-1]} is not a method but has arguments"
    return f"can't give argument to non-function {first}"


def compile_operand(operand: Operand, scope: Scope) -> Evaluate:
    """An operand ready to be evaluated, also as an argument."""
    match operand:
        case FieldNode():
            return _field_of_dot(operand, scope)
        case VariableNode():
            return _variable(operand, scope)
        case PipeNode():
            return compile_pipe(operand, scope)
        case StringNode():
            return _constant(operand.text)
        case BoolNode():
            return _constant(operand.value)
        case NumberNode():
            if operand.value is None:
                return _failing(operand, f"{operand.text} overflows int", scope)
            return _constant(operand.value)
        case NilNode():
            return _constant(None)
        case DotNode():
            return _dot
        case IdentifierNode():
            return _call(operand, operand, (), scope, None)
        case ChainNode():
            return _chain(operand, scope)


def _constant(value: object) -> Evaluate:
    return lambda _execution, _dot: value


def _dot(_: Execution, dot: object) -> object:
    return None if dot is NULL else dot


# Fields and variables


def _field_of_dot(node: FieldNode, scope: Scope) -> Evaluate:
    if len(node.names) > 1:
        return _fields(_focus, node, node.names, scope)
    name = node.names[0]

    def field(_: Execution, dot: object) -> object:
        if type(dot) is Struct and name in dot.fields:
            return dot.fields[name]
        if type(dot) is dict:
            return dot.get(name)
        return get_field(dot, name, node, scope)

    return field


def _focus(_: Execution, dot: object) -> object:
    return dot


def _variable(node: VariableNode, scope: Scope) -> Evaluate:
    slot = scope.slot(node.names[0])
    if slot is None:
        return _failing(node, f"undefined variable: {node.names[0]}", scope)
    if len(node.names) == 1:

        def variable(execution: Execution, _: object) -> object:
            value = execution.variables[slot]
            return None if value is NULL else value

        return variable
    start: Evaluate = lambda execution, _: execution.variables[slot]  # noqa: E731
    return _fields(start, node, node.names[1:], scope)


def _chain(node: ChainNode, scope: Scope) -> Evaluate:
    place = last_place(node.operand)
    return _fields(compile_operand(node.operand, scope), place, node.names, scope)


def last_place(node: Node) -> Node:
    """What Go was looking at last when a pipeline has its value: where it reports errors."""
    while isinstance(node, PipeNode | CommandNode):
        node = node.commands[-1] if isinstance(node, PipeNode) else node.operands[-1]
    return node


def _fields(start: Evaluate, node: Node, names: tuple[str, ...], scope: Scope) -> Evaluate:
    first, rest = names[0], names[1:]

    def fields(execution: Execution, dot: object) -> object:
        holder: object = None
        value = start(execution, dot)
        found = get_field(value, first, node, scope)
        for name in rest:
            holder, value = value, NULL if found is None else found
            found = get_field(value, name, node, scope, holder=holder)
        return found

    return fields


def get_field(
    value: object, name: str, node: Node, scope: Scope, *, holder: object = None
) -> object:
    """The field of a struct or the value under a key; nil for any field of a nil.

    `holder` is what the value was taken from: Go names the type of the place, not of the value.

    Raises:
        TemplateExecutionError: neither struct nor map, a struct or `Named` without the field, or a
            null.
    """
    if type(value) is Struct:
        if name in value.fields:
            return value.fields[name]
    elif type(value) is Named:
        try:
            return value.member(name)
        except MissingField as error:
            raise scope.error(node, str(error)) from error
    elif isinstance(value, dict):
        found: object = value.get(name, value.zero if type(value) is TypedMap else None)
        return found
    elif value is None:
        return None
    elif value is NULL:
        raise scope.error(node, f"nil pointer evaluating interface {{}}.{name}")
    with placing(node, scope):
        shown = "interface {}" if type(holder) is dict else type_name(value)
        message = f"can't evaluate field {name} in type {shown}"
    raise scope.error(node, message)


@contextmanager
def placing(node: Node, scope: Scope, prefix: str = "") -> Iterator[None]:
    """Turns a `FunctionFailed` from within into an error at this node."""
    try:
        yield
    except FunctionFailed as error:
        raise scope.error(node, f"{prefix}{error}") from None


# Functions


def _call(
    name: IdentifierNode,
    node: Node,
    arguments: tuple[Operand, ...],
    scope: Scope,
    final: Evaluate | None,
) -> Evaluate:
    """A function with its arguments; `node` is the command, which errors of the function quote."""
    function = scope.functions[name.name]
    count = len(arguments) + (final is not None)
    if function.most is None and count < function.required:
        got = f"want at least {function.required} got {len(arguments)}"
        return _failing(name, f"wrong number of args for {name}: {got}", scope, after=final)
    if function.most is not None and not function.required <= count <= function.most:
        got = f"want {function.required} got {count}"
        return _failing(name, f"wrong number of args for {name}: {got}", scope, after=final)
    if function is GO_FUNCTIONS["len"] and final is None:
        shortcut = _length_of_slice(arguments[0], scope)
        if shortcut is not None:
            return shortcut
    parts = [
        _string(operand, scope) if place < function.strings else compile_operand(operand, scope)
        for place, operand in enumerate(arguments)
    ]
    if function is GO_FUNCTIONS["and"] or function is GO_FUNCTIONS["or"]:
        return _and_or(parts, final, stop_at=function is GO_FUNCTIONS["or"])
    if final is not None and len(arguments) < function.strings:
        final = _checked(final, node, scope)
    if function is GO_FUNCTIONS["call"]:
        value = parts[0] if parts else final
        assert value is not None
        return _call_value(value, node, str(arguments[0] if arguments else name), scope)
    return _applying(function, parts, final, name.name, node, scope)


def _applying(
    function: Function,
    parts: list[Evaluate],
    final: Evaluate | None,
    name: str,
    node: Node,
    scope: Scope,
) -> Evaluate:
    """The call itself; one and two arguments, the usual numbers, take shortcuts."""
    carry_out = function.carry_out

    def failed(error: FunctionFailed) -> TemplateExecutionError:
        return scope.error(node, f"error calling {name}: {error}")

    def apply_to_all(execution: Execution, dot: object) -> object:
        last = () if final is None else (final(execution, dot),)
        values = [part(execution, dot) for part in parts]
        try:
            return carry_out(execution, *values, *last)
        except FunctionFailed as error:
            raise failed(error) from None

    if final is not None or len(parts) not in (1, 2):
        return apply_to_all
    first, second = parts[0], parts[-1]
    carry_out_two = function.pair or carry_out

    def apply_to_one(execution: Execution, dot: object) -> object:
        try:
            return carry_out(execution, first(execution, dot))
        except FunctionFailed as error:
            raise failed(error) from None

    def apply_to_two(execution: Execution, dot: object) -> object:
        try:
            return carry_out_two(execution, first(execution, dot), second(execution, dot))
        except FunctionFailed as error:
            raise failed(error) from None

    return apply_to_one if len(parts) == 1 else apply_to_two


def _and_or(parts: list[Evaluate], final: Evaluate | None, *, stop_at: bool) -> Evaluate:
    """The first argument whose truth is `stop_at`, else the last; later ones stay unevaluated."""

    def choose(execution: Execution, dot: object) -> object:
        last = None if final is None else final(execution, dot)
        value = None
        for part in parts:
            value = part(execution, dot)
            if bool(value) is stop_at:
                return value
        return value if final is None else last

    return choose


def _call_value(callee_value: Evaluate, node: Node, callee: str, scope: Scope) -> Evaluate:
    """Go's `call`: always an error, because no value of ours is a function."""

    def call(execution: Execution, dot: object) -> object:
        value = callee_value(execution, dot)
        if value is None:
            raise scope.error(node, "error calling call: call of nil")
        with placing(node, scope, "error calling call: "):
            message = f"non-function {callee} of type {type_name(value)}"
        raise scope.error(node, f"error calling call: {message}")

    return call


def _string(operand: Operand, scope: Scope) -> Evaluate:
    """An argument that has to be a string."""
    if isinstance(operand, NumberNode | BoolNode):
        return _failing(operand, f"expected string; found {operand}", scope)
    if isinstance(operand, NilNode):
        return _failing(operand, "cannot assign nil to string", scope)
    return _checked(compile_operand(operand, scope), operand, scope)


def _checked(value: Evaluate, node: Node, scope: Scope) -> Evaluate:
    def checked(execution: Execution, dot: object) -> object:
        result = value(execution, dot)
        if type(result) is not str:
            with placing(node, scope):
                got = type_name(result)
            raise scope.error(node, f"wrong type for value; expected string; got {got}")
        return result

    return checked


def _length_of_slice(operand: Operand, scope: Scope) -> Evaluate | None:
    """`len (slice list i)` without making the slice: the usual test for the last message.

    Made, the slices of a loop over n messages would take n² / 2 elements.
    """
    if not isinstance(operand, PipeNode) or operand.variables or len(operand.commands) != 1:
        return None
    command = operand.commands[0]
    name, arguments = command.operands[0], command.operands[1:]
    if not isinstance(name, IdentifierNode) or not arguments:
        return None
    if scope.functions[name.name] is not GO_FUNCTIONS["slice"]:
        return None
    parts = [compile_operand(argument, scope) for argument in arguments]

    def length_of_slice(execution: Execution, dot: object) -> object:
        value, *places = [part(execution, dot) for part in parts]
        with placing(command, scope, "error calling slice: "):
            if isinstance(value, list | tuple):
                start, end = slice_bounds(len(value), tuple(places))
                return end - start
            return length(execution, slice_of(execution, value, *places))

    return length_of_slice
