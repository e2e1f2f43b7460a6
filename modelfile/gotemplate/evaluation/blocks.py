"""Statements of the tree made into Python closures: text, printing, if, with, range, template.

A closure returns how to go on (`GO_ON`, `BREAK`, `CONTINUE`). Steps are charged once per list of
statements, by a price known when compiling; data-dependent work is charged where it is done.
"""

from collections.abc import Iterable, Mapping

from olmkit.modelfile.gotemplate.evaluation.functions import Function
from olmkit.modelfile.gotemplate.evaluation.operands import compile_pipe, last_place, placing
from olmkit.modelfile.gotemplate.evaluation.scope import BREAK, CONTINUE, GO_ON, Body, Run, Scope
from olmkit.modelfile.gotemplate.evaluation.values import NULL, sorted_items
from olmkit.modelfile.gotemplate.limits import Execution
from olmkit.modelfile.gotemplate.printing.goquoting import quote
from olmkit.modelfile.gotemplate.printing.verbs import value_text
from olmkit.modelfile.gotemplate.syntax.nodes import (
    ActionNode,
    BranchNode,
    BreakNode,
    ContinueNode,
    IfNode,
    ListNode,
    PipeNode,
    RangeNode,
    Statement,
    TemplateNode,
    TextNode,
    WithNode,
    walk,
)
from olmkit.modelfile.gotemplate.templateerrors import FunctionFailed, TemplateExecutionError


def compile_program(
    trees: Mapping[str, ListNode], *, text: str, name: str, functions: Mapping[str, Function]
) -> dict[str, Body]:
    """All templates of a text, ready to run, by name."""
    program: dict[str, Body] = {}
    for tree_name, tree in trees.items():
        scope = Scope(
            text=text, parse_name=name, name=tree_name, functions=functions, program=program
        )
        run = _list(tree, scope)
        program[tree_name] = Body(run, scope.most_variables)
    return program


def run_body(body: Body, execution: Execution, data: object) -> None:
    """Run one template on its data, with variables of its own.

    Raises:
        TemplateError: it cannot be carried out within the bounds.
    """
    execution.step(body.variables)
    outer = execution.variables
    execution.variables = [data, *[None] * (body.variables - 1)]
    body.run(execution, data)
    execution.variables = outer


def _list(tree: ListNode, scope: Scope) -> Run:
    """Statements in order; the caller ends the scope of their variables."""
    runs = [_statement(node, scope) for node in tree.nodes]
    price = 1 + sum(_price(node) for node in tree.nodes)

    def run_list(execution: Execution, dot: object) -> int:
        execution.steps_left -= price
        if execution.steps_left < 0:
            raise execution.exceeded("steps")
        for run in runs:
            if signal := run(execution, dot):
                return signal
        return GO_ON

    return run_list


def _price(node: Statement) -> int:
    """Steps of a statement without the lists inside it."""
    if isinstance(node, ActionNode | BranchNode | TemplateNode) and node.pipe is not None:
        return sum(1 for _ in walk(node.pipe))
    return 1


def _statement(node: Statement, scope: Scope) -> Run:
    match node:
        case TextNode():
            return _text(node)
        case ActionNode():
            return _action(node, scope)
        case IfNode() | WithNode():
            return _branch(node, scope)
        case RangeNode():
            return _range(node, scope)
        case TemplateNode():
            return _template(node, scope)
        case BreakNode():
            return lambda _execution, _dot: BREAK
        case ContinueNode():
            return lambda _execution, _dot: CONTINUE


def _text(node: TextNode) -> Run:
    text, size = node.text, len(node.text)

    def write_text(execution: Execution, _: object) -> int:
        execution.output_left -= size
        if execution.output_left < 0:
            raise execution.exceeded("output_chars")
        execution.write(text)
        return GO_ON

    return write_text


def _action(node: ActionNode, scope: Scope) -> Run:
    evaluate = compile_pipe(node.pipe, scope)
    if node.pipe.variables:

        def set_variables(execution: Execution, dot: object) -> int:
            evaluate(execution, dot)
            return GO_ON

        return set_variables

    def print_value(execution: Execution, dot: object) -> int:
        value = evaluate(execution, dot)
        if type(value) is not str:
            try:
                value = value_text(value, execution)
            except FunctionFailed as error:
                raise scope.error(node, str(error)) from None
        execution.output_left -= len(value)
        if execution.output_left < 0:
            raise execution.exceeded("output_chars")
        execution.write(value)
        return GO_ON

    return print_value


def _branch(node: IfNode | WithNode, scope: Scope) -> Run:
    mark = scope.mark()
    condition = compile_pipe(node.pipe, scope)
    inner_mark = scope.mark()
    body = _list(node.body, scope)
    scope.leave(inner_mark)
    otherwise = _nothing if node.otherwise is None else _list(node.otherwise, scope)
    scope.leave(mark)

    def run_if(execution: Execution, dot: object) -> int:
        return (body if condition(execution, dot) else otherwise)(execution, dot)

    def run_with(execution: Execution, dot: object) -> int:
        value = condition(execution, dot)
        return body(execution, value) if value else otherwise(execution, dot)

    return run_if if isinstance(node, IfNode) else run_with


def _nothing(_: Execution, _dot: object) -> int:
    return GO_ON


def _range(node: RangeNode, scope: Scope) -> Run:
    mark = scope.mark()
    evaluate = compile_pipe(node.pipe, scope)
    inner_mark = scope.mark()
    slots = [scope.slot(variable.names[0]) or 0 for variable in node.pipe.variables]
    body = _list(node.body, scope)
    scope.leave(inner_mark)
    otherwise = _nothing if node.otherwise is None else _list(node.otherwise, scope)
    scope.leave(mark)

    def run_range(execution: Execution, dot: object) -> int:
        value = evaluate(execution, dot)
        try:
            entries = _entries(value, execution)
        except FunctionFailed as error:
            raise scope.error(last_place(node.pipe), str(error)) from None
        if entries is None or (len(slots) > 1 and isinstance(value, int)):
            raise _not_iterable(value, execution, node.pipe, scope)
        variables = execution.variables
        is_empty = True
        for key, element in entries:
            is_empty = False
            if element is None:
                element = NULL
            if slots:
                variables[slots[-1]] = element
                if len(slots) > 1:
                    variables[slots[0]] = key
            if body(execution, element) == BREAK:
                break
        return otherwise(execution, dot) if is_empty else GO_ON

    return run_range


def _entries(value: object, execution: Execution) -> Iterable[tuple[object, object]] | None:
    """Keys and elements in Go's order, or None for a value that cannot be iterated over."""
    if isinstance(value, list | tuple):
        return enumerate(value)
    if isinstance(value, dict):
        execution.step(len(value))
        return sorted_items(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return enumerate(range(value))
    return () if value is None else None


def _not_iterable(
    value: object, execution: Execution, pipe: PipeNode, scope: Scope
) -> TemplateExecutionError:
    place = last_place(pipe)
    with placing(place, scope):
        shown = value_text(value, execution)
    if isinstance(value, int) and not isinstance(value, bool):
        return scope.error(place, f"can't use {shown} to iterate over more than one variable")
    return scope.error(place, f"range can't iterate over {shown}")


def _template(node: TemplateNode, scope: Scope) -> Run:
    evaluate = None if node.pipe is None else compile_pipe(node.pipe, scope)
    name, program = node.name.text, scope.program

    def run_template(execution: Execution, dot: object) -> int:
        body = program.get(name)
        if body is None:
            raise scope.error(node, f"template {quote(name)} not defined")
        if execution.calls_left <= 0:
            raise execution.exceeded("calls")
        data = None if evaluate is None else evaluate(execution, dot)
        execution.calls_left -= 1
        run_body(body, execution, data)
        execution.calls_left += 1
        return GO_ON

    return run_template
