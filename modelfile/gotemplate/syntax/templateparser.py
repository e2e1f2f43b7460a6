"""Template text to trees: statements, definitions, and the checks that need names.

Keeps its own stack of open blocks, so that no input can exhaust Python's. Error texts follow Go's
parser (text/template/parse); where a text has several faults, the one named may differ from Go's.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise

from lark import Token

from olmkit.modelfile.gotemplate.limits import Limits
from olmkit.modelfile.gotemplate.syntax.expressions import parse_pipeline
from olmkit.modelfile.gotemplate.syntax.nodes import (
    ActionNode,
    BoolNode,
    BreakNode,
    ChainNode,
    ContinueNode,
    DotNode,
    IdentifierNode,
    IfNode,
    ListNode,
    NilNode,
    NumberNode,
    Operand,
    PipeNode,
    RangeNode,
    Statement,
    StringNode,
    TemplateNode,
    TextNode,
    VariableNode,
    WithNode,
)
from olmkit.modelfile.gotemplate.syntax.templatescanner import (
    Action,
    Text,
    describe_token,
    line_at,
    scan,
)
from olmkit.modelfile.gotemplate.syntax.treebuilder import InvalidExpression, string_node
from olmkit.modelfile.gotemplate.templateerrors import TemplateLimitExceeded, TemplateSyntaxError

_BRANCHES: dict[str, type[IfNode | WithNode | RangeNode]] = {
    "if": IfNode,
    "with": WithNode,
    "range": RangeNode,
}
_MAX_ERRORS = 100
_NOTHING = PipeNode(0, (), False, ())
_CLAUSES = {"define": "define clause", "block": "block clause", "template": "template clause"}


def parse_trees(
    text: str, *, name: str, functions: Collection[str], limits: Limits
) -> dict[str, ListNode]:
    """The trees of a template by name: its own under `name`, and one for each definition.

    Raises:
        TemplateSyntaxError: no template.
        TemplateLimitExceeded: the text is too long or nested too deeply.
    """
    if len(text) > limits.source_chars:
        raise TemplateLimitExceeded("source_chars", limits.source_chars, template_name=name)
    parser = _Parser(text, name=name, functions=functions, limits=limits)
    for piece in scan(text, name=name, limits=limits):
        if isinstance(piece, Text):
            parser.open[-1].nodes.append(TextNode(piece.position, piece.text))
        else:
            parser.take(piece)
    return parser.finish()


def find_errors(
    text: str, *, functions: Collection[str], limits: Limits
) -> list[TemplateSyntaxError | TemplateLimitExceeded]:
    """What is wrong with a template: one error an action at most, none if it is one.

    Where `parse_trees` stops at the first, this goes on as if the action made sense.
    """
    parser = _Parser(text, name="", functions=functions, limits=limits)
    found: list[TemplateSyntaxError | TemplateLimitExceeded] = []
    try:
        if len(text) > limits.source_chars:
            raise TemplateLimitExceeded("source_chars", limits.source_chars)
        for piece in scan(text, name="", limits=limits):
            if isinstance(piece, Text):
                continue
            try:
                parser.take(piece)
            except TemplateSyntaxError as error:
                found.append(error)
                parser.assume(piece)
            if len(found) == _MAX_ERRORS or piece.end == len(text):
                return found
        parser.finish()
    except (TemplateSyntaxError, TemplateLimitExceeded) as error:
        found.append(error)
    return found


class _Variables:
    """The variables in scope, innermost last; asking for one takes the same time for any number."""

    def __init__(self) -> None:
        self.names = ["$"]
        self.counts = {"$": 1}

    def declare(self, name: str) -> None:
        self.names.append(name)
        self.counts[name] = self.counts.get(name, 0) + 1

    def leave(self, mark: int) -> None:
        """Forget those declared since there were `mark` of them."""
        for name in self.names[mark:]:
            self.counts[name] -= 1
        del self.names[mark:]

    def __contains__(self, name: str) -> bool:
        return self.counts.get(name, 0) > 0


@dataclass(slots=True)
class _Block:
    """A statement or definition whose end is still to come."""

    keyword: str
    position: int
    variables: _Variables
    variables_before: int = 0
    range_depth: int = 0
    pipe: PipeNode = _NOTHING
    name: StringNode | None = None
    nodes: list[Statement] = field(default_factory=list)
    body: ListNode | None = None
    is_chained: bool = False

    def close_list(self) -> ListNode:
        start = self.nodes[0].position if self.nodes else self.position
        return ListNode(start, tuple(self.nodes))


class _Parser:
    def __init__(self, text: str, *, name: str, functions: Collection[str], limits: Limits) -> None:
        self.text = text
        self.name = name
        self.functions = functions
        self.limits = limits
        self.trees: dict[str, ListNode] = {}
        self.open = [_Block("", 0, _Variables())]
        self.action = Action(0, 0, [])

    def take(self, action: Action) -> None:
        """One action: a statement, part of one, or a pipeline to print."""
        self.action = action
        tokens = action.tokens
        first = tokens[0] if tokens else None
        if first is None or first.type != "KEYWORD":
            pipe = self._pipeline(tokens, "command")
            self.open[-1].nodes.append(ActionNode(pipe.position, pipe))
        elif first in _BRANCHES:
            self._open_branch(first, tokens[1:], is_chained=False)
        elif first == "else":
            self._else(tokens)
        elif first == "end":
            self._expect_end(tokens, 1, "end")
            self._end()
        elif first in ("break", "continue"):
            self._leave_range(first, tokens)
        elif first == "template":
            self._template(tokens)
        else:
            self._open_definition(first, tokens)

    def assume(self, action: Action) -> None:
        """Go on after an action that failed: the variables that it was to declare are there."""
        for token, following in pairwise(action.tokens):
            if token.type == "VARIABLE" and following.type in ("DECLARE", "COMMA"):
                self.open[-1].variables.declare(str(token))

    def finish(self) -> dict[str, ListNode]:
        """All trees, once the text is read."""
        if len(self.open) > 1:
            block = self.open[-1]
            raise TemplateSyntaxError(
                "unexpected EOF",
                template_name=self.name,
                line=line_at(self.text, len(self.text)),
                position=self.text.rfind("{{", 0, block.position + 2),
                hint=f"the {block.keyword} has no {{{{ end }}}}",
            )
        self._define(self.name, self.open[0].close_list())
        return self.trees

    # Statements

    def _open_branch(self, keyword: str, tokens: list[Token], *, is_chained: bool) -> None:
        parent = self.open[-1]
        block = _Block(
            keyword,
            self.action.position,
            parent.variables,
            variables_before=len(parent.variables.names),
            range_depth=parent.range_depth + (keyword == "range"),
            is_chained=is_chained,
        )
        try:
            block.pipe = self._pipeline(tokens, keyword)
            block.position = block.pipe.position
        finally:
            self._push(block)  # its end belongs to it, whatever stands in the action

    def _push(self, block: _Block) -> None:
        if len(self.open) > self.limits.nesting:
            raise TemplateLimitExceeded("nesting", self.limits.nesting, template_name=self.name)
        self.open.append(block)

    def _else(self, tokens: list[Token]) -> None:
        block = self.open[-1]
        chained = tokens[1] if len(tokens) > 1 and tokens[1] in ("if", "with") else None
        if chained is None:
            self._expect_end(tokens, 1, "else")
        if block.keyword in _CLAUSES:
            raise self._error(f"unexpected {{{{else}}}} in {_CLAUSES[block.keyword]}")
        if block.keyword == "":
            raise self._error("unexpected {{else}}")
        if block.body is not None:
            raise self._error("expected end; found {{else}}")
        block.body = block.close_list()
        block.nodes = []
        if block.keyword == "range":
            block.range_depth -= 1
        if chained is None:
            return
        if chained != block.keyword:
            raise self._error(f"unexpected <{chained}> in input")
        self._open_branch(chained, tokens[2:], is_chained=True)

    def _end(self) -> None:
        if len(self.open) == 1:
            raise self._error("unexpected {{end}}")
        block = self.open.pop()
        while block.is_chained:
            self.open[-1].nodes.append(self._branch(block))
            block = self.open.pop()
        if block.keyword in _BRANCHES:
            self.open[-1].nodes.append(self._branch(block))
        elif block.name is not None:
            self._define(block.name.text, block.close_list())

    def _branch(self, block: _Block) -> IfNode | WithNode | RangeNode:
        block.variables.leave(block.variables_before)
        last = block.close_list()
        body, otherwise = (last, None) if block.body is None else (block.body, last)
        return _BRANCHES[block.keyword](block.position, block.pipe, body, otherwise)

    def _leave_range(self, keyword: Token, tokens: list[Token]) -> None:
        self._expect_end(tokens, 1, f"{{{{{keyword}}}}}")
        block = self.open[-1]
        if block.range_depth == 0:
            raise self._error(f"{{{{{keyword}}}}} outside {{{{range}}}}")
        node = BreakNode if keyword == "break" else ContinueNode
        block.nodes.append(node(keyword.start_pos or 0))

    def _template(self, tokens: list[Token]) -> None:
        name = self._name(tokens, _CLAUSES["template"])
        pipe = self._pipeline(tokens[2:], _CLAUSES["template"]) if len(tokens) > 2 else None
        self.open[-1].nodes.append(TemplateNode(name.position, name, pipe))

    def _open_definition(self, keyword: str, tokens: list[Token]) -> None:
        outer = self.open[-1]
        block = _Block(keyword, self.action.position, _Variables())
        try:
            if keyword == "define" and len(self.open) > 1:
                raise self._error("unexpected <define> in command")
            name = self._name(tokens, _CLAUSES[keyword])
            if keyword == "block":
                pipe = self._pipeline(tokens[2:], _CLAUSES[keyword])
                outer.nodes.append(TemplateNode(name.position, name, pipe))
            else:
                self._expect_end(tokens, 2, _CLAUSES[keyword])
            block.name, block.position = name, name.position
        finally:
            self._push(block)

    def _define(self, name: str, tree: ListNode) -> None:
        if name in self.trees and not _is_empty(self.trees[name]):
            if not _is_empty(tree):
                raise self._error(f'template: multiple definition of template "{name}"')
            return
        self.trees[name] = tree

    # Parts of an action

    def _name(self, tokens: list[Token], context: str) -> StringNode:
        token = tokens[1] if len(tokens) > 1 else None
        if token is None or token.type != "STRING":
            raise self._unexpected(token, context)
        try:
            return string_node(token)
        except InvalidExpression as error:
            raise self._error(error.message, token.start_pos) from None

    def _expect_end(self, tokens: list[Token], count: int, context: str) -> None:
        if len(tokens) > count:
            raise self._unexpected(tokens[count], context)

    def _pipeline(self, tokens: list[Token], context: str) -> PipeNode:
        try:
            pipe = parse_pipeline(tokens)
        except InvalidExpression as error:
            raise self._invalid(error, tokens, context) from None
        self._check(pipe, context)
        return pipe

    def _check(self, pipe: PipeNode, context: str) -> None:
        """The names of a pipeline, and what Go's grammar leaves to later."""
        if len(pipe.variables) > 1 and context != "range":
            raise self._error(f"too many declarations in {context}", pipe.position)
        known = self.open[-1].variables
        for variable in pipe.variables:
            known.declare(variable.names[0])
        for stage, command in enumerate(pipe.commands, 1):
            for operand in command.operands:
                self._check_operand(operand, known)
            if stage > 1 and isinstance(command.operands[0], _CONSTANTS):
                raise self._error(
                    f"non executable command in pipeline stage {stage}", command.position
                )

    def _check_operand(self, operand: Operand, known: _Variables) -> None:
        if isinstance(operand, IdentifierNode):
            if operand.name not in self.functions:
                raise self._error(f'function "{operand.name}" not defined', operand.position)
        elif isinstance(operand, VariableNode):
            if operand.names[0] not in known:
                message = f'undefined variable "{operand.names[0]}"'
                raise self._error(message, operand.position)
        elif isinstance(operand, PipeNode):
            self._check(operand, "parenthesized pipeline")
        elif isinstance(operand, ChainNode):
            self._check_operand(operand.operand, known)

    # Errors

    def _invalid(
        self, error: InvalidExpression, tokens: list[Token], context: str
    ) -> TemplateSyntaxError:
        """Go's words for tokens that the grammar refuses."""
        token = error.token
        if error.message and token is not None:
            return self._error(error.message, token.start_pos)
        index = (
            len(tokens)
            if token is None
            else next(place for place, other in enumerate(tokens) if other is token)
        )
        before = tokens[:index]
        previous = before[-1].type if before else ""
        opened = [other.type for other in before]
        if opened.count("LPAR") > opened.count("RPAR"):
            context = "parenthesized pipeline"
        if token is not None and token.type == "COMMA" and previous == "VARIABLE":
            return self._error(f"too many declarations in {context}", token.start_pos)
        if previous in ("", "LPAR", "PIPE", "DECLARE", "ASSIGN", "COMMA"):
            if previous == "COMMA" and context == "range":
                return self._error("range can only initialize variables")
            if previous == "COMMA":
                return self._error(f"too many declarations in {context}")
            if token is None or token.type == "RPAR":
                return self._error(f"missing value for {context}")
            return self._unexpected(token, context)
        return self._unexpected(token, "operand")

    def _unexpected(self, token: Token | None, context: str) -> TemplateSyntaxError:
        if token is None:
            return self._error(f'unexpected "}}}}" in {context}', self.action.end)
        if token.type != "ERROR":
            shown = describe_token(token.type, token)
            return self._error(f"unexpected {shown} in {context}", token.start_pos)
        started = line_at(self.text, self.action.position)
        message = str(token)
        if started != line_at(self.text, token.start_pos or 0):
            joint = " started" if message.endswith(" action") else " in action started"
            message += f"{joint} at {self.name}:{started}"
        return self._error(message, token.start_pos)

    def _error(self, message: str, position: int | None = None) -> TemplateSyntaxError:
        at = self.action.position if position is None else position
        line = line_at(self.text, at)
        return TemplateSyntaxError(message, template_name=self.name, line=line, position=at)


_CONSTANTS = (BoolNode, DotNode, NilNode, NumberNode, StringNode)


def _is_empty(tree: ListNode) -> bool:
    """Whether there is nothing but white space in it."""
    return all(isinstance(node, TextNode) and not node.text.strip() for node in tree.nodes)
