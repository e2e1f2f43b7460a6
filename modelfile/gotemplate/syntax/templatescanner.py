"""Template text to literal text and tokens, in one pass over the characters.

Decides what is text, what an action, what trim markers remove, and where tokens end. Spaces
between operands matter in Go and are checked here, so the grammar never sees them.

Source: https://pkg.go.dev/text/template#hdr-Text_and_spaces and the lexer of text/template/parse.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lark import Token

from olmkit.modelfile.gotemplate.limits import Limits
from olmkit.modelfile.gotemplate.printing.goquoting import describe_rune, quote
from olmkit.modelfile.gotemplate.templateerrors import TemplateLimitExceeded, TemplateSyntaxError

KEYWORDS = frozenset(
    ("block", "break", "continue", "define", "else", "end", "if", "range", "template", "with")
)

_SPACES = " \t\r\n"
_SPACES_SET = frozenset(_SPACES)
_WORD_TYPES = {"nil": "NIL", "true": "BOOL", "false": "BOOL"} | dict.fromkeys(KEYWORDS, "KEYWORD")
_LITERALS = {"NIL", "BOOL", "DOT", "NUMBER", "STRING"}
_OPERANDS = _LITERALS | {"FIELD", "VARIABLE", "VARIABLE_FIELD", "IDENTIFIER"}
_OPERAND_STARTS = frozenset(_OPERANDS | {"KEYWORD", "LPAR"})
_OPERAND_ENDS = frozenset(_OPERANDS | {"RPAR", "CHAIN"})

# A token is read once, whatever follows it: by possessive quantifiers, which before Python 3.11.5
# are right for single characters only (gh-106052); behind a group, what could follow is excluded.
_TOKEN = re.compile(
    r"""[ \t\r\n]*+(?:
      (?P<CLOSE>\}\}|(?<=[ \t\r\n])-\}\})
    | (?P<FIELD>(?:\.(?![0-9])\w++)+)(?!\.(?![0-9])\w)(?=[ \t\r\n.,|:()]|\}\}|\Z)
    | (?P<VARIABLE_FIELD>\$\w*+(?:\.(?![0-9])\w++)+)(?!\.(?![0-9])\w)(?=[ \t\r\n.,|:()]|\}\}|\Z)
    | (?P<VARIABLE>\$\w*+)(?=[ \t\r\n.,|:()]|\}\}|\Z)
    | (?P<NUMBER>[+-]?(?:[0-9]|\.[0-9])[\w.]*+(?:(?<=[eEpP])[+-][0-9_]*+i?)?(?:[+-][0-9_.eE]*+i)?
        | [+-])
    | (?P<IDENTIFIER>\w++)(?=[ \t\r\n.,|:()]|\}\}|\Z)
    | (?P<DOT>\.)(?=[ \t\r\n.,|:()]|\}\}|\Z)
    | (?P<STRING>"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*" | `[^`]*+`)
    | (?P<RUNE>'[^'\\\n]*+(?:\\[^\n][^'\\\n]*+)*')
    | (?P<DECLARE>:=) | (?P<ASSIGN>=) | (?P<PIPE>\|) | (?P<COMMA>,)
    | (?P<LPAR>\() | (?P<RPAR>\))
    | (?P<CHARACTER>[!#%&*/;<>?@\[\]\\^{}~])
    )""",
    re.VERBOSE,
)
_SPACE_RUN = re.compile(r"[ \t\r\n]*+")
_NAME = re.compile(r"[.$]?\w*+(?:\.\w++)*")
_UNFINISHED = {
    '"': "unterminated quoted string",
    "`": "unterminated raw quoted string",
    "'": "unterminated character constant",
    ":": "expected :=",
}


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text, trimmed, never empty."""

    position: int
    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """The tokens between two delimiters; `position` is the left one's, `end` the right one's.

    A last token of type ERROR stands for text that is no token; its value is what to say.
    """

    position: int
    end: int
    tokens: list[Token]


def line_at(text: str, position: int) -> int:
    """The 1-based line of a character."""
    return text.count("\n", 0, position) + 1


def scan(text: str, *, name: str, limits: Limits) -> Iterator[Text | Action]:
    """The pieces of a template in order; comments are left out.

    Raises:
        TemplateSyntaxError: a comment does not end, or not right before its delimiter.
        TemplateLimitExceeded: parentheses are nested too deeply.
    """
    position = 0
    while (opening := text.find("{{", position)) >= 0:
        inside = opening + 2
        is_trimmed = text.startswith("-", inside) and text[inside + 1 : inside + 2] in _SPACES_SET
        literal = text[position:opening]
        if is_trimmed:
            literal = literal.rstrip(_SPACES)
            inside += 2
        if literal:
            yield Text(position, literal)
        if text.startswith("/*", inside):
            position = _skip_comment(text, inside, name)
            continue
        action, position = _scan_action(text, opening, inside, limits)
        yield action
    if position < len(text):
        yield Text(position, text[position:])


def _skip_comment(text: str, position: int, name: str) -> int:
    """Where the text goes on after the comment."""
    closing = text.find("*/", position + 2)
    if closing < 0:
        raise _error(text, position, "unclosed comment", name)
    closing += 2
    if text.startswith("}}", closing):
        return closing + 2
    if text[closing : closing + 1] in _SPACES_SET and text.startswith("-}}", closing + 1):
        return _skip_spaces(text, closing + 4)
    raise _error(text, closing, "comment ends before closing delimiter", name)


def _error(text: str, position: int, message: str, name: str) -> TemplateSyntaxError:
    line = line_at(text, position)
    return TemplateSyntaxError(message, template_name=name, line=line, position=position)


def _skip_spaces(text: str, position: int) -> int:
    match = _SPACE_RUN.match(text, position)
    return match.end() if match else position


def _scan_action(text: str, opening: int, position: int, limits: Limits) -> tuple[Action, int]:
    """The action and where the text goes on after it."""
    tokens: list[Token] = []
    previous = ""
    depth = 0
    while (match := _TOKEN.match(text, position)) is not None:
        kind = match.lastgroup or ""
        start = match.start(kind)
        value = match[kind]
        if kind == "CLOSE":
            if depth:
                tokens.append(Token("ERROR", "unclosed left paren", start))
            end = match.end()
            after = _skip_spaces(text, end) if value == "-}}" else end
            return Action(opening, start, tokens), after
        if kind == "IDENTIFIER":
            kind = _WORD_TYPES.get(value, kind)
        elif kind == "RUNE":
            kind = "NUMBER"
        elif kind == "LPAR":
            depth += 1
            if depth > limits.nesting:
                raise TemplateLimitExceeded("nesting", limits.nesting)
        elif kind == "RPAR":
            depth -= 1
        if start == position and previous in _OPERAND_ENDS and kind in _OPERAND_STARTS:
            kind, value = _joined(previous, kind, value, tokens[-1])
        elif depth < 0:
            kind, value = "ERROR", "unexpected right paren"
        tokens.append(Token(kind, value, start))
        position = match.end()
        if kind == "ERROR":
            return Action(opening, start, tokens), position
        previous = kind
    tokens.append(_bad_token(text, position))
    return Action(opening, len(text), tokens), len(text)


def _joined(previous: str, kind: str, value: str, before: Token) -> tuple[str, str]:
    """The type and value of an operand that touches the one before it: fields, or a mistake."""
    if kind != "FIELD":
        return "ERROR", f"unexpected {describe_token(kind, value)} in operand"
    if previous in _LITERALS:
        return "ERROR", f"unexpected . after term {quote(str(before))}"
    return "CHAIN", value


def _bad_token(text: str, position: int) -> Token:
    position = _skip_spaces(text, position)
    if position >= len(text):
        return Token("ERROR", "unclosed action", position)
    character = text[position]
    if character in _UNFINISHED:
        return Token("ERROR", _UNFINISHED[character], position)
    match = _NAME.match(text, position)
    end = match.end() if match else position
    if end == position:
        shown = describe_rune(character)
        return Token("ERROR", f"unrecognized character in action: {shown}", position)
    shown = describe_rune(text[end]) if end < len(text) else "EOF"
    return Token("ERROR", f"bad character {shown}", position)


def describe_token(kind: str, value: str) -> str:
    """A token as Go's parser names it in an error."""
    if kind == "KEYWORD" or value in ("nil", "."):
        return f"<{value}>"
    if len(value) > 10:
        return f"{quote(value[:10])}..."
    return quote(value)
