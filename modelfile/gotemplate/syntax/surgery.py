"""Looking into parse trees and changing them: the names mentioned, and the `.Response` cut.

Source: https://github.com/ollama/ollama/blob/v0.17.4/template/template.go
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from olmkit.modelfile.gotemplate.syntax.nodes import (
    ActionNode,
    BranchNode,
    CommandNode,
    FieldNode,
    IfNode,
    ListNode,
    Node,
    PipeNode,
    RangeNode,
    Statement,
    TemplateNode,
    VariableNode,
    WithNode,
    walk,
)

_Branch = TypeVar("_Branch", bound=BranchNode)


def mentioned_names(trees: Iterable[ListNode]) -> frozenset[str]:
    """Every name in a chain of fields or of a variable (with its `$`), in lower case.

    Fields of a parenthesised expression do not count, as in Ollama.
    """
    return frozenset(
        name.lower()
        for tree in trees
        for node in walk(tree)
        if isinstance(node, FieldNode | VariableNode)
        for name in node.names
    )


def call_without_data(trees: Iterable[ListNode]) -> TemplateNode | None:
    """The first `{{ template "x" }}` without an argument."""
    nodes = (node for tree in trees for node in walk(tree))
    return next((n for n in nodes if isinstance(n, TemplateNode) and n.pipe is None), None)


def append_field(tree: ListNode, name: str) -> ListNode:
    """The tree with `{{ .name }}` at its end."""
    field = FieldNode(tree.position, (name,))
    pipe = PipeNode(tree.position, (), False, (CommandNode(tree.position, (field,)),))
    return replace(tree, nodes=(*tree.nodes, ActionNode(tree.position, pipe)))


def cut_after_field(tree: ListNode, name: str) -> ListNode:
    """The tree without anything after the first action that prints the field.

    Blocks that the action stands in stay, without the rest of their body and without their else.
    Conditions are not searched. The cut is made whether or not the action would be reached.
    """
    return _cut(tree, name)[0]


def _cut(tree: ListNode, name: str) -> tuple[ListNode, bool]:
    """The list up to the field, and whether that was in it."""
    kept: list[Statement] = []
    for node in tree.nodes:
        shortened, was_found = _cut_statement(node, name)
        kept.append(shortened)
        if was_found:
            return replace(tree, nodes=tuple(kept)), True
    return tree, False


def _cut_statement(node: Statement, name: str) -> tuple[Statement, bool]:
    if isinstance(node, IfNode | WithNode | RangeNode):
        return _cut_branch(node, name)
    return node, _prints(node, name)


def _cut_branch(node: _Branch, name: str) -> tuple[_Branch, bool]:
    body, was_found = _cut(node.body, name)
    if was_found:
        return replace(node, body=body, otherwise=None), True
    if node.otherwise is None:
        return node, False
    otherwise, was_found = _cut(node.otherwise, name)
    return replace(node, otherwise=otherwise), was_found


def _prints(node: Node, name: str) -> bool:
    """Whether it is an action that prints something made of the field."""
    return (
        isinstance(node, ActionNode)
        and not node.pipe.variables
        and any(isinstance(part, FieldNode) and name in part.names for part in walk(node.pipe))
    )
