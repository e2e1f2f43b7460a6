"""Lark's side of parsing an expression: takes the scanner's tokens, gives nodes.

The saved tables of the grammar refer to `TokenList` and `TreeBuilder` by name.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from lark import Token
from lark.lexer import Lexer, LexerState

from olmkit.modelfile.gotemplate.printing.goquoting import InvalidQuoting, unquote, unquote_rune
from olmkit.modelfile.gotemplate.printing.numbers import InvalidNumber, parse_constant
from olmkit.modelfile.gotemplate.syntax.nodes import (
    BoolNode,
    ChainNode,
    CommandNode,
    DotNode,
    FieldNode,
    IdentifierNode,
    NilNode,
    NumberNode,
    Operand,
    PipeNode,
    StringNode,
    VariableNode,
)

_Commands = list[list[Operand]]


class InvalidExpression(Exception):
    """Tokens that are no pipeline; never leaves the package.

    `token` is the offending one, None at the end of the action, and `previous` the one before it;
    `message` is set when the fault is in a constant.
    """

    def __init__(self, token: Token | None, message: str = "") -> None:
        super().__init__(message)
        self.token = token
        self.message = message


class TokenList(Lexer):
    """Hands Lark the tokens that the scanner made."""

    __future_interface__ = 1

    def __init__(self, _: object) -> None:
        pass

    def lex(self, lexer_state: LexerState, parser_state: object) -> Iterator[Token]:
        """The tokens of the list given as text."""
        del parser_state
        tokens: list[Token] = lexer_state.text  # type: ignore[assignment]
        return iter(tokens)


class TreeBuilder:
    """Lark's callbacks, one for each alternative of the grammar, all given the matched parts."""

    def start(self, parts: list[PipeNode]) -> PipeNode:
        """The whole action."""
        return parts[0]

    def pipeline(self, parts: list[_Commands]) -> PipeNode:
        """Commands alone."""
        return _pipe([], parts[0], is_assignment=False)

    def declaration(self, parts: list[Token | _Commands]) -> PipeNode:
        """One declared variable."""
        return _pipe(parts[:1], parts[2], is_assignment=False)

    def declaration_of_two(self, parts: list[Token | _Commands]) -> PipeNode:
        """Two variables, of a range."""
        return _pipe(parts[:3:2], parts[4], is_assignment=False)

    def assignment(self, parts: list[Token | _Commands]) -> PipeNode:
        """One variable set anew."""
        return _pipe(parts[:1], parts[2], is_assignment=True)

    def assignment_of_two(self, parts: list[Token | _Commands]) -> PipeNode:
        """Two variables set anew by a range."""
        return _pipe(parts[:3:2], parts[4], is_assignment=True)

    def first(self, parts: list[object]) -> list[object]:
        """The first of several: Lark's list of one is the list that the others join."""
        return parts

    def next_operand(self, parts: list[Any]) -> list[Operand]:
        """One more argument."""
        operands: list[Operand] = parts[0]
        operands.append(parts[1])
        return operands

    def next_command(self, parts: list[Any]) -> _Commands:
        """One more command, after a bar."""
        commands: _Commands = parts[0]
        commands.append(parts[2])
        return commands

    def field(self, parts: list[Token]) -> FieldNode:
        """`.A.B`; Go places a longer chain at its second field."""
        names = tuple(parts[0].split(".")[1:])
        offset = 0 if len(names) == 1 else 1 + len(names[0])
        return FieldNode(_position(parts[0]) + offset, names)

    def variable(self, parts: list[Token]) -> VariableNode:
        """`$x.A`; Go places a chain at its first field."""
        names = tuple(parts[0].split("."))
        offset = 0 if len(names) == 1 else len(names[0])
        return VariableNode(_position(parts[0]) + offset, names)

    def identifier(self, parts: list[Token]) -> IdentifierNode:
        """A function."""
        return IdentifierNode(_position(parts[0]), str(parts[0]))

    def dot(self, parts: list[Token]) -> DotNode:
        """`.`."""
        return DotNode(_position(parts[0]))

    def nil(self, parts: list[Token]) -> NilNode:
        """`nil`."""
        return NilNode(_position(parts[0]))

    def boolean(self, parts: list[Token]) -> BoolNode:
        """`true` or `false`."""
        return BoolNode(_position(parts[0]), parts[0] == "true")

    def number(self, parts: list[Token]) -> NumberNode:
        """A number or a character."""
        token = parts[0]
        try:
            value = unquote_rune(token) if token.startswith("'") else parse_constant(token)
        except (InvalidNumber, InvalidQuoting) as error:
            raise InvalidExpression(token, str(error)) from None
        return NumberNode(_position(token), str(token), value)

    def string(self, parts: list[Token]) -> StringNode:
        """A quoted or raw string."""
        return string_node(parts[0])

    def parenthesised(self, parts: list[Any]) -> PipeNode:
        """A pipeline as an operand."""
        pipe: PipeNode = parts[1]
        return pipe

    def parenthesised_chain(self, parts: list[Any]) -> ChainNode:
        """Fields of a pipeline's value."""
        return ChainNode(_position(parts[3]), parts[1], tuple(parts[3].split(".")[1:]))

    def function_chain(self, parts: list[Token]) -> ChainNode:
        """Fields of a function's result."""
        return ChainNode(
            _position(parts[1]), self.identifier(parts), tuple(parts[1].split(".")[1:])
        )


def string_node(token: Token) -> StringNode:
    """The tree of a string constant.

    Raises:
        InvalidExpression: an escape that Go does not know.
    """
    try:
        return StringNode(_position(token), str(token), unquote(token))
    except InvalidQuoting as error:
        raise InvalidExpression(token, str(error)) from None


def _pipe(
    variables: Sequence[Token | _Commands], commands: Token | _Commands, *, is_assignment: bool
) -> PipeNode:
    assert isinstance(commands, list)
    declared = tuple(
        VariableNode(_position(token), (str(token),))
        for token in variables
        if isinstance(token, Token)
    )
    nodes = tuple(CommandNode(operands[0].position, tuple(operands)) for operands in commands)
    start = declared[0].position if declared else nodes[0].position
    return PipeNode(start, declared, is_assignment, nodes)


def _position(token: Token) -> int:
    return token.start_pos or 0
