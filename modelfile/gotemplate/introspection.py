"""What a template says about its model: capabilities, and the tags around thoughts and tool calls.

Sources: https://github.com/ollama/ollama/blob/v0.17.4/thinking/template.go
and https://github.com/ollama/ollama/blob/v0.17.4/tools/template.go
"""

from dataclasses import dataclass
from enum import StrEnum

from olmkit.modelfile.gotemplate.syntax.nodes import (
    ActionNode,
    BranchNode,
    FieldNode,
    IfNode,
    ListNode,
    Node,
    RangeNode,
    TemplateNode,
    TextNode,
    walk,
)
from olmkit.modelfile.gotemplate.syntax.surgery import mentioned_names
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


def tool_call_tag(template: Template) -> str:
    """The literal text that begins a tool call of the model, `{` when the template shows none.

    The first literal text of the first block that depends on `.ToolCalls`, up to a brace.
    """
    for node in walk(template.root):
        if isinstance(node, IfNode) and _mentions_tool_calls(node):
            text = _first_text(node.body) or ""
            return text.replace("\r\n", "\n").partition("{")[0].strip() or "{"
    return "{"


def _mentions_tool_calls(node: IfNode) -> bool:
    names = mentioned_names([ListNode(node.position, (ActionNode(node.position, node.pipe),))])
    return "toolcalls" in names


def _first_text(tree: ListNode) -> str | None:
    """The first literal text that is not blank; an empty one where a printed value comes first."""
    for node in tree.nodes:
        if isinstance(node, TextNode) and node.text.strip():
            return node.text
        if isinstance(node, TemplateNode) or (
            isinstance(node, ActionNode) and not node.pipe.variables
        ):
            return ""
        if isinstance(node, BranchNode):
            for part in (node.body, node.otherwise):
                text = None if part is None else _first_text(part)
                if text is not None:
                    return text
    return None
