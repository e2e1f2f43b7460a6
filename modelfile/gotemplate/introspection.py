"""What a template says about its model: capabilities, and the tags around thoughts.

Source: https://github.com/ollama/ollama/blob/v0.17.4/thinking/template.go
"""

from dataclasses import dataclass
from enum import StrEnum

from olmkit.modelfile.gotemplate.syntax.nodes import (
    ActionNode,
    BranchNode,
    FieldNode,
    ListNode,
    Node,
    RangeNode,
    TemplateNode,
    TextNode,
    walk,
)
from olmkit.modelfile.gotemplate.template import Template

_TOOL_ROLE_MARKS = ('eq .Role "tool"', "tool_response", "TOOL_RESULTS")


class Capability(StrEnum):
    """What a model can do by its template."""

    TOOLS = "tools"
    INSERT = "insert"
    THINKING = "thinking"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkTags:
    """The literal texts around a thought, without white space around them."""

    opening: str
    closing: str


def capabilities(template: Template) -> frozenset[Capability]:
    """The capabilities that the template shows."""
    found = {
        Capability.TOOLS: "tools" in template.variables,
        Capability.INSERT: "suffix" in template.variables,
        Capability.THINKING: think_tags(template) is not None,
    }
    return frozenset(capability for capability, is_there in found.items() if is_there)


def has_tool_round_trip(template: Template) -> bool:
    """Whether the template shows tools, calls of them, and their results."""
    return {"tools", "toolcalls"} <= template.variables and any(
        mark in template.text for mark in _TOOL_ROLE_MARKS
    )


def think_tags(template: Template) -> ThinkTags | None:
    """The tags around the text of `.Thinking` of a message; None unless both can be told.

    Every `.Thinking` in a range over `.Messages` is looked at, conditions included; the literal
    texts at the two ends of the innermost list of nodes around it are the tags, and the last ones
    found win.
    """
    tags = {"opening": "", "closing": ""}
    _find_thoughts(template.root, tags, is_in_messages=False)
    return ThinkTags(**tags) if all(tags.values()) else None


def _find_thoughts(tree: ListNode, tags: dict[str, str], *, is_in_messages: bool) -> None:
    for node in tree.nodes:
        if not isinstance(node, ActionNode | BranchNode | TemplateNode):
            continue
        if is_in_messages and node.pipe is not None and _starts_field(node.pipe, "Thinking"):
            _take_tags(tree, tags)
        if isinstance(node, BranchNode):
            inside = is_in_messages
            if isinstance(node, RangeNode):
                inside = _starts_field(node.pipe, "Messages")
            _find_thoughts(node.body, tags, is_in_messages=inside)
            if node.otherwise is not None:
                _find_thoughts(node.otherwise, tags, is_in_messages=inside)


def _take_tags(tree: ListNode, tags: dict[str, str]) -> None:
    first, last = tree.nodes[0], tree.nodes[-1]
    if isinstance(first, TextNode):
        tags["opening"] = first.text.strip()
    if isinstance(last, TextNode):
        tags["closing"] = last.text.strip()


def _starts_field(node: Node, name: str) -> bool:
    return any(isinstance(part, FieldNode) and part.names[0] == name for part in walk(node))
