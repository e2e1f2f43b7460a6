"""No text makes the parser fail, hang or grow: it answers with a Modelfile or ModelfileErrors."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olmkit.modelfile.instructions import From, Modelfile, System
from olmkit.modelfile.parser import parse
from olmkit.modelfile.problems import ModelfileErrors
from olmkit.modelfile.render import render

PIECES = ["FROM ", "from ", "PARAMETER ", "SYSTEM ", "MESSAGE ", "ARG ", "REQUIRES ", "stop "]
PIECES += ["user ", "num_ctx ", "temperature ", "1", "0.5", "x", '"', '"""', "#", "\n", "\r", " "]
PIECES += ["\t", "=", ":", "${A}", "A", "A=", "\\", "\xa0", "\x00", "\x1b", "\ufeff", "日本"]
PIECES += ["\u0301", "\ud800", "system "]
QUARTER_OF_A_MEGABYTE = 250_000

pytestmark = pytest.mark.timeout(60)
"""A quadratic number of steps for so much text would take minutes."""


def check(text: str | bytes, *, compatible: bool) -> None:
    """Read `text`; where that fails, the errors are complete and printable."""
    try:
        modelfile = parse(text, compatible=compatible, arguments={"A": "1"})
    except ModelfileErrors as errors:
        assert errors.errors
        for problem in errors.diagnostics():
            assert problem.span.line >= 1
            assert problem.span.column >= 1
            assert (problem.span.line, problem.span.column) <= (
                problem.span.end_line,
                problem.span.end_column,
            )
            json.dumps(problem.to_json()).encode()
        shown = str(errors)
        assert all(c.isprintable() or c in "\n\t" for c in shown)
    else:
        assert modelfile.from_


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.booleans())
def test_any_text_is_read_or_refused(text: str, compatible: bool) -> None:
    check(text, compatible=compatible)


@settings(deadline=None)
@given(st.text(), st.booleans())
def test_any_unicode_is_read_or_refused(text: str, compatible: bool) -> None:
    check(text, compatible=compatible)


@settings(deadline=None)
@given(
    st.sampled_from([b"", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"FROM m\n"]),
    st.binary(),
    st.booleans(),
)
def test_any_bytes_are_read_or_refused(mark: bytes, data: bytes, compatible: bool) -> None:
    check(mark + data, compatible=compatible)


VALUES = {
    "quotes": '"',
    "remarks in one line": '" # ',
    "remarks in every line": '" # x\nfoo\n',
    "remarks within comments": '# " #\n',
    "blanks after quotes": '"' + " " * 1000,
    "blanks": " ",
    "line ends": "\n",
    "carriage returns": "\r",
    "comments": "#\n",
    "comments with blanks": "#    \n",
    "letters": "a",
    "references": "${A}",
    "backslashes": "\\",
    "digits": "9",
    "dots": ".",
    "nulls": "\0",
    "combining marks": "\u0301",
}
COMMANDS = {
    "unclosed quotes": 'SYSTEM " x\n',
    "unclosed triple quotes": 'SYSTEM """ x\n',
    "remarks and unclosed quotes": 'SYSTEM " # x\nfoo\n',
    "unknown instructions": "FOO x\n",
    "keywords": "FROM\n",
    "commands": "FROM m\n",
    "wrong parameters": "PARAMETER temprature 1\n",
    "deprecated parameters": "PARAMETER low_vram 1\n",
    "arguments": "ARG A=${A}${A}\n",
}
STARTS = ["", "FROM m\nSYSTEM ", 'ARG A=1\nFROM m\nSYSTEM "', "PARAMETER "]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("piece", VALUES.values(), ids=VALUES)
def test_a_quarter_of_a_megabyte_of_anything_is_read_or_refused(piece: str, start: str) -> None:
    text = start + piece * (QUARTER_OF_A_MEGABYTE // len(piece))
    check(text, compatible=False)
    check(text, compatible=True)


@pytest.mark.parametrize("piece", COMMANDS.values(), ids=COMMANDS)
def test_ten_thousand_commands_are_read_or_refused(piece: str) -> None:
    check(piece * 10_000, compatible=False)
    check(piece * 10_000, compatible=True)


@pytest.mark.parametrize("piece", [*VALUES.values(), *COMMANDS.values()], ids=VALUES | COMMANDS)
def test_a_quarter_of_a_megabyte_of_anything_is_rendered_and_read_again(piece: str) -> None:
    text = piece * (QUARTER_OF_A_MEGABYTE // len(piece)) + "\n"
    modelfile = Modelfile(instructions=(From(value="m"), System(value=text)))
    assert parse(render(modelfile)) == modelfile
