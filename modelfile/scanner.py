"""Text to syntax trees, command by command.

The grammar says what may come next and the scanner looks for just that, so names and values need
no marks of their own. After an error it goes on at the next line that starts a command.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from lark import Token, Tree
from lark.parsers.lalr_interactive_parser import InteractiveParser

from olmkit.modelfile.diagnostics import Code
from olmkit.modelfile.explain import Broken, not_a_command, not_an_operand, too_many_blanks
from olmkit.modelfile.problems import Problems
from olmkit.modelfile.quoting import BLANK, KEYWORDS, Value, Values
from olmkit.modelfile.source import Span
from olmkit.modelfile.syntax import grammar, patterns

_KEYWORD = re.compile(r"[A-Za-z]+(?![A-Za-z0-9_-])")
# A keyword in mixed letter case starts a sentence more often than a command, and another word in
# capitals is more often a misspelled keyword than text.
_ALL_KEYWORDS = (*KEYWORDS, "ARG")
_RESUME = re.compile(
    rf"[\r\n][{BLANK}]*+"
    rf"(?=(?:{'|'.join(_ALL_KEYWORDS)})(?![A-Za-z0-9_-])"
    rf"|(?:{'|'.join(map(str.lower, _ALL_KEYWORDS))}|[A-Z]{{3,20}})[ \t])"
)
_VALUES = {"": "BARE", '"': "QUOTED", '"""': "TRIPLE"}
QUOTE_LENGTHS = {terminal: len(quote) for quote, terminal in _VALUES.items()}
"""How many quotes stand on each side of a value, by its terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command, as far as the grammar goes."""

    rule: str
    """The rule of the grammar: text, parameter, message or argument."""
    tokens: list[Token]
    """Its keyword, name, role or variable first, then what follows."""
    start: int
    end: int
    """Offsets in the text."""

    @property
    def keyword(self) -> str:
        """The keyword in upper case; ARGUMENT for ARG."""
        return self.tokens[0].type if self.rule == "text" else self.rule.upper()

    @property
    def value(self) -> Token | None:
        """The value as written; None when there is none."""
        return self.tokens[-1] if self.tokens[-1].type in QUOTE_LENGTHS else None


class Scanner:
    """Reads the commands of one source; what is wrong goes to `problems`."""

    def __init__(self, problems: Problems, *, is_compatible: bool) -> None:
        self._problems = problems
        self._text = problems.source.text
        self._is_compatible = is_compatible
        self._values = Values(self._text, comments=not is_compatible)
        self._last: list[Token] = []
        """The tokens of the last command that could be read."""

    def commands(self) -> Iterator[Command]:
        """Every command that can be read, in order."""
        at = self._values.skip_between(0)
        while at < len(self._text) and not self._problems.is_full:
            try:
                command = self._command(at)
                yield command
                end = command.end
            except Broken as broken:
                self._problems.error(broken.error, self._span(broken.start, broken.end))
                found = _RESUME.search(self._text, self._values.line_end(at))
                end = found.end() if found else len(self._text)
            at = self._values.skip_between(end)

    def _command(self, start: int) -> Command:
        """The command at `start`.

        Raises:
            Broken: there is none.
        """
        parser = grammar().parse_interactive()
        token: Token | None = self._keyword(_choices(parser), start)
        tokens: list[Token] = []
        end = start
        while token:
            parser.feed_token(token)
            tokens.append(token)
            end = token.end_pos or end
            token = self._operand(_choices(parser), end, tokens)
        self._last = tokens
        tree: Tree[Token] = parser.feed_eof()  # type: ignore[no-untyped-call]
        children = [each for each in tree.children if isinstance(each, Token)]
        return Command(rule=str(tree.data), tokens=children, start=start, end=end)

    def _keyword(self, choices: Collection[str], at: int) -> Token:
        found = _KEYWORD.match(self._text, at)
        keyword = found[0].upper() if found else ""
        if keyword not in choices or (keyword == "ARG" and self._is_compatible):
            raise not_a_command(self._text, at, self._last)
        return self._token(keyword, at, at + len(keyword))

    def _operand(self, choices: Collection[str], at: int, before: list[Token]) -> Token | None:
        """The next token, one of `choices`; None where the command ends."""
        for name in choices:
            if (pattern := patterns().get(name)) and (found := pattern.match(self._text, at)):
                if name in ("NAME", "ROLE") and self._is_compatible and len(before[-1]) > 1:
                    raise too_many_blanks(before)
                return self._token(name, at, found.end())
        takes_value = "BARE" in choices
        start = self._values.skip_blanks(at)
        if "$END" in choices and self._ends(start, takes_value=takes_value):
            return None
        if takes_value and (value := self._values.find(start)):
            self._warn(value)
            return self._token(_VALUES[value.quote], start, value.end)
        raise not_an_operand(self._text, start if "$END" in choices else at, choices, before)

    def _ends(self, at: int, *, takes_value: bool) -> bool:
        """Whether the command may end at `at`: a comment ends it where no value can start."""
        following = self._text[at : at + 1]
        if following == "#":
            return not takes_value and not self._is_compatible
        return following in ("", "\r", "\n")

    def _warn(self, value: Value) -> None:
        if value.remark is not None:
            self._problems.warning(
                Code.COMMENT_IN_VALUE,
                "the value goes on: what looks like a comment is part of it",
                self._span(value.remark, self._values.line_end(value.remark)),
                hint="put the comment on a line of its own",
            )

    def _token(self, kind: str, start: int, end: int) -> Token:
        return Token(kind, self._text[start:end], start_pos=start, end_pos=end)

    def _span(self, start: int, end: int) -> Span:
        return self._problems.source.span(start, end)


def _choices(parser: InteractiveParser) -> Collection[str]:
    """Names of what may come next, terminals among them."""
    choices: Collection[str] = parser.choices()  # type: ignore[no-untyped-call]
    return choices
