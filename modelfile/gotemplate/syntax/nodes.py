"""The parse tree of a template: Go's node types, immutable, each with its place in the text.

`position` is the index of a character, and the one that Go names in an error: for a chain of fields
that is the second one. `str(node)` is the node's source in Go's canonical form, as errors quote it.
Nodes compare by identity (`eq=False`): two equal texts at two places are two nodes.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """Any part of the tree."""

    position: int


# Operands


@dataclass(frozen=True, slots=True, eq=False)
class DotNode(Node):
    """`.`, the value in focus."""

    def __str__(self) -> str:
        return "."


@dataclass(frozen=True, slots=True, eq=False)
class NilNode(Node):
    """`nil`."""

    def __str__(self) -> str:
        return "nil"


@dataclass(frozen=True, slots=True, eq=False)
class BoolNode(Node):
    """`true` or `false`."""

    value: bool

    def __str__(self) -> str:
        return "true" if self.value else "false"


@dataclass(frozen=True, slots=True, eq=False)
class NumberNode(Node):
    """A number or character constant; `value` is None when it is too large for Go's int."""

    text: str
    value: int | float | None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, eq=False)
class StringNode(Node):
    """A string constant: as written, and what it means."""

    quoted: str
    text: str

    def __str__(self) -> str:
        return self.quoted


@dataclass(frozen=True, slots=True, eq=False)
class FieldNode(Node):
    """`.A.B` on the value in focus."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return "." + ".".join(self.names)


@dataclass(frozen=True, slots=True, eq=False)
class VariableNode(Node):
    """`$x` or `$x.A.B`; the first name keeps its dollar sign."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.names)


@dataclass(frozen=True, slots=True, eq=False)
class IdentifierNode(Node):
    """The name of a function."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, eq=False)
class ChainNode(Node):
    """Fields of a parenthesised pipeline or of a function's result: `(index .A 0).B`."""

    operand: "Operand"
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{_operand_text(self.operand)}.{'.'.join(self.names)}"


@dataclass(frozen=True, slots=True, eq=False)
class CommandNode(Node):
    """An operand, or a function with its arguments."""

    operands: "tuple[Operand, ...]"

    def __str__(self) -> str:
        return " ".join(_operand_text(operand) for operand in self.operands)


@dataclass(frozen=True, slots=True, eq=False)
class PipeNode(Node):
    """Commands joined by `|`, maybe declaring (`:=`) or assigning (`=`) variables."""

    variables: tuple[VariableNode, ...]
    is_assignment: bool
    commands: tuple[CommandNode, ...]

    def __str__(self) -> str:
        text = " | ".join(map(str, self.commands))
        if not self.variables:
            return text
        names = ", ".join(map(str, self.variables))
        return f"{names} {'=' if self.is_assignment else ':='} {text}"


Operand = (
    DotNode
    | NilNode
    | BoolNode
    | NumberNode
    | StringNode
    | FieldNode
    | VariableNode
    | IdentifierNode
    | ChainNode
    | PipeNode
)


def _operand_text(operand: Operand) -> str:
    return f"({operand})" if isinstance(operand, PipeNode) else str(operand)


# Statements


@dataclass(frozen=True, slots=True, eq=False)
class ListNode(Node):
    """Statements in order."""

    nodes: "tuple[Statement, ...]"

    def __str__(self) -> str:
        return "".join(map(str, self.nodes))


@dataclass(frozen=True, slots=True, eq=False)
class TextNode(Node):
    """Literal text, after trimming."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, eq=False)
class ActionNode(Node):
    """`{{ pipeline }}`: prints its value, unless it declares or assigns."""

    pipe: PipeNode

    def __str__(self) -> str:
        return f"{{{{{self.pipe}}}}}"


@dataclass(frozen=True, slots=True, eq=False)
class BranchNode(Node):
    """What `if`, `with` and `range` have in common."""

    pipe: PipeNode
    body: ListNode
    otherwise: ListNode | None

    keyword = ""

    def __str__(self) -> str:
        otherwise = "" if self.otherwise is None else f"{{{{else}}}}{self.otherwise}"
        return f"{{{{{self.keyword} {self.pipe}}}}}{self.body}{otherwise}{{{{end}}}}"


@dataclass(frozen=True, slots=True, eq=False)
class IfNode(BranchNode):
    """`{{ if }}`; `{{ else if }}` is an `if` alone in the `otherwise` of its parent."""

    keyword = "if"


@dataclass(frozen=True, slots=True, eq=False)
class WithNode(BranchNode):
    """`{{ with }}`, which also moves the focus."""

    keyword = "with"


@dataclass(frozen=True, slots=True, eq=False)
class RangeNode(BranchNode):
    """`{{ range }}` over a list, a map or a whole number."""

    keyword = "range"


@dataclass(frozen=True, slots=True, eq=False)
class BreakNode(Node):
    """`{{ break }}`."""

    def __str__(self) -> str:
        return "{{break}}"


@dataclass(frozen=True, slots=True, eq=False)
class ContinueNode(Node):
    """`{{ continue }}`."""

    def __str__(self) -> str:
        return "{{continue}}"


@dataclass(frozen=True, slots=True, eq=False)
class TemplateNode(Node):
    """`{{ template "name" pipeline }}`, also what `{{ block }}` leaves at its place."""

    name: StringNode
    pipe: PipeNode | None

    def __str__(self) -> str:
        return f"{{{{template {self.name}{'' if self.pipe is None else f' {self.pipe}'}}}}}"


Statement = (
    TextNode | ActionNode | IfNode | WithNode | RangeNode | BreakNode | ContinueNode | TemplateNode
)


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, in the order of the text."""
    waiting: list[Node] = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(reversed(children(current)))


def children(node: Node) -> tuple[Node, ...]:
    """The direct parts of a node, in the order of the text."""
    match node:
        case ListNode():
            return node.nodes
        case ActionNode():
            return (node.pipe,)
        case BranchNode():
            parts = (node.pipe, node.body)
            return parts if node.otherwise is None else (*parts, node.otherwise)
        case TemplateNode():
            return () if node.pipe is None else (node.pipe,)
        case PipeNode():
            return (*node.variables, *node.commands)
        case CommandNode():
            return node.operands
        case ChainNode():
            return (node.operand,)
        case _:
            return ()
