"""Why a command cannot be read: from the place and what could have come, to an error that helps."""

import re
from collections.abc import Container, Sequence

from lark import Token

from olmkit.modelfile.diagnostics import Code, brief, nearest, quoted
from olmkit.modelfile.errors import (
    ModelfileError,
    ModelfileSyntaxError,
    UnknownInstruction,
)
from olmkit.modelfile.instructions import Role
from olmkit.modelfile.parameters import TABLE, unknown_parameter
from olmkit.modelfile.quoting import KEYWORDS

_WORD = re.compile(r"[^\s\"=:]+|[^\s]")
_NEEDS = {
    "FROM": "a model, a file or a directory",
    "PARAMETER": "a name and a value",
    "MESSAGE": "a role and a text",
    "ARG": "a name",
    "ADAPTER": "a path",
    "DRAFT": "a path",
    "RENDERER": "a name",
    "PARSER": "a name",
    "REQUIRES": "a version",
}
_SHOWN = 100
"""Characters of the text that a hint may quote."""
_TEXTS = ("SYSTEM", "TEMPLATE", "LICENSE", "MESSAGE")
_COMMENT_MARKS = ("//", "--", ";", "/*")
_EXPECTED = {
    "_GAP": ("a space",),
    "NAME": tuple(TABLE),
    "ROLE": tuple(role.value for role in Role),
    "VARIABLE": ("a name of letters, digits and _",),
    "EQUAL": ("=", "the end of the line"),
}


class Broken(Exception):
    """A command that cannot be read, because of `text[start:end]`."""

    def __init__(self, error: ModelfileError, start: int, end: int) -> None:
        super().__init__(error)
        self.error = error
        self.start = start
        self.end = end


def not_a_command(text: str, at: int, last: Sequence[Token]) -> Broken:
    """The error of a line that starts with no keyword; `last` is the command before it."""
    word = _word(text, at)
    hint = None
    if "\0" in word:
        hint = "the file looks like UTF-16 without a byte-order mark: save it as UTF-8"
    elif word.startswith(_COMMENT_MARKS):
        hint = "a comment starts with #"
    elif word.upper() == "ARG":
        hint = "ARG is an addition of olm, off for compatibility"
    elif last and last[-1].type == "BARE" and last[0].type in _TEXTS and not word.isupper():
        hint = f'a text of several lines stands in quotes: {last[0].type} """…"""'
    error: ModelfileError
    if word[:1].isalpha():
        error = UnknownInstruction(
            f"unknown instruction {quoted(word)}",
            code=Code.UNKNOWN_INSTRUCTION,
            keyword=word,
            expected=KEYWORDS,
            suggestion=nearest(word, KEYWORDS),
            hint=hint,
        )
    else:
        error = ModelfileSyntaxError(
            f"unexpected {quoted(word)} where an instruction starts",
            code=Code.UNEXPECTED_CHARACTER,
            expected=KEYWORDS,
            hint=hint,
        )
    return Broken(error, at, at + len(word))


def not_an_operand(text: str, at: int, choices: Container[str], before: Sequence[Token]) -> Broken:
    """The error of a command that does not go on as it must after the tokens `before`."""
    expected = [each for name, texts in _EXPECTED.items() if name in choices for each in texts]
    keyword = before[0].type
    if "BARE" in choices:
        return _unclosed(text, at, keyword)
    if text[at : at + 1].strip(" \t\r\n") == "":
        return _missing(at, keyword, before, expected)
    if "_GAP" in choices:
        return _no_space(text, at, before)
    word = _word(text, at)
    after = " ".join(brief(token) for token in before if token.type != "_GAP")
    error = ModelfileSyntaxError(
        f"unexpected {quoted(word)} after {after}",
        code=Code.UNEXPECTED_CHARACTER,
        keyword=keyword,
        expected=expected,
    )
    return Broken(error, at, at + len(word))


def too_many_blanks(before: Sequence[Token]) -> Broken:
    """The error, for Ollama only, of several blanks in front of a name or a role."""
    keyword, gap = before[0].type, before[-1]
    error = ModelfileSyntaxError(
        f"ollama reads an empty name after {keyword} and two blanks",
        code=Code.NOT_IN_OLLAMA,
        keyword=keyword,
        expected=("one space",),
        suggestion=" ",
    )
    start = gap.start_pos or 0
    return Broken(error, start, start + len(gap))


def _word(text: str, at: int) -> str:
    found = _WORD.match(text, at)
    return found[0] if found else text[at : at + 1]


def _named(character: str) -> str:
    return quoted(character) if character.isprintable() else f"U+{ord(character):04X}"


def _unclosed(text: str, at: int, keyword: str) -> Broken:
    quote = '"""' if text.startswith('"""', at) else '"'
    hint = None
    if (seen := text.find(quote, at + len(quote))) >= 0:
        after = re.match(r"[^\r\n]*", text[seen + len(quote) : seen + _SHOWN])
        follows = quoted(after[0].strip()) if after else "text"
        hint = f"only a comment may follow the closing {quote} on its line, not {follows}"
    error = ModelfileSyntaxError(
        f"the quote of {keyword} is never closed",
        code=Code.UNCLOSED_QUOTE,
        keyword=keyword,
        expected=(f"{quote} at the end of a line",),
        hint=hint,
    )
    return Broken(error, at, at + len(quote))


def _missing(at: int, keyword: str, before: Sequence[Token], expected: Sequence[str]) -> Broken:
    named = before[2] if len(before) > 2 else None
    subject = f"{keyword} {brief(named)}" if named else keyword
    needs = "a value" if named else _NEEDS.get(keyword, "a text")
    error = ModelfileSyntaxError(
        f"{subject} needs {needs}",
        code=Code.MISSING_OPERAND,
        keyword=keyword,
        expected=expected if len(before) == 2 else (needs,),
    )
    start = before[0].start_pos or 0
    return Broken(error, start, at)


def _no_space(text: str, at: int, before: Sequence[Token]) -> Broken:
    last = before[-1]
    start = last.start_pos or 0
    if last.type == "NAME" and text[at] not in "=:\"'":
        name = _word(text, start)
        return Broken(unknown_parameter(name), start, start + len(name))
    error = ModelfileSyntaxError(
        f"a space must follow {brief(last)}, not {_named(text[at])}",
        code=Code.MISSING_SPACE,
        keyword=before[0].type,
        expected=("a space",),
    )
    return Broken(error, start, at + 1)
