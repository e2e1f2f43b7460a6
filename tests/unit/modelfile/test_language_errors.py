"""Errors: all of a file at once, each with its place, for people and for tools."""

import json

import pytest

from olmkit.modelfile.check import check_template
from olmkit.modelfile.diagnostics import Code, Diagnostic, Severity
from olmkit.modelfile.errors import (
    InvalidInstruction,
    InvalidParameter,
    MissingFrom,
    ModelfileError,
    ModelfileSyntaxError,
    UnknownInstruction,
)
from olmkit.modelfile.instructions import From, Modelfile, Template
from olmkit.modelfile.parser import MAX_SIZE, parse
from olmkit.modelfile.problems import ModelfileErrors, Problems
from olmkit.modelfile.source import Span

BROKEN = """\
FORM llama3
PARAMETER temprature 0.7
PARAMETER num-ctx 5
PARAMETER num_ctx 4096.0 # hot
PARAMETER temperature=0.7
PARAMETER seed
PARAMETER
SYSTEM"x"
SYSTEM You are
a pirate,
truly
MESSAGE User hi
MESSAGE user: hi
REQUIRES latest
FROM
ADAPTER ""
// remark
	SYSTEM "a" b
LICENSE MIT
"""


def errors_of(text: str | bytes, *, compatible: bool = False) -> ModelfileErrors:
    with pytest.raises(ModelfileErrors) as caught:
        parse(text, compatible=compatible)
    return caught.value


def test_all_errors_of_a_file_come_at_once_in_its_order() -> None:
    found = [
        (each.span.line, each.span.column, each.code.value, each.suggestion)
        for each in errors_of(BROKEN).diagnostics()
    ]
    assert found == [
        (1, 1, "unknown-instruction", "FROM"),
        (2, 11, "unknown-parameter", "temperature"),
        (3, 11, "unknown-parameter", "num_ctx"),
        (4, 19, "invalid-value", "4096"),
        (5, 11, "missing-space", None),
        (6, 1, "missing-operand", None),
        (7, 1, "missing-operand", None),
        (8, 1, "missing-space", None),
        (10, 1, "unknown-instruction", None),
        (12, 9, "invalid-role", "user"),
        (13, 9, "missing-space", None),
        (14, 10, "invalid-value", None),
        (15, 1, "missing-operand", None),
        (16, 1, "empty-operand", None),
        (17, 1, "unexpected-character", None),
        (18, 9, "unclosed-quote", None),
    ]


def test_the_text_of_the_errors_shows_lines_carets_and_advice() -> None:
    assert str(
        errors_of("FROM m\nPARAMETER temprature 0.7\n\tSYSTEM\t'日本\x1b' \"x\nSystème x")
    ) == (
        "Modelfile:2:11: unknown parameter 'temprature'\n"
        "  PARAMETER temprature 0.7\n"
        "            ^^^^^^^^^^\n"
        "  did you mean 'temperature'?\n"
        "Modelfile:4:1: unknown instruction 'Système'\n"
        "  Système x\n"
        "  ^^^^^^^\n"
        "  did you mean 'SYSTEM'?\n"
        '  a text of several lines stands in quotes: SYSTEM """…"""'
    )


def test_carets_stand_under_wide_characters_and_tabs() -> None:
    report = str(errors_of("FROM m\nPARAMETER\tseed\t日本語").errors[0].diagnostic)
    assert report.splitlines()[1:3] == ["  PARAMETER\tseed\t日本語", "           \t    \t^^^^^^"]


def test_long_lines_are_cut_around_the_error() -> None:
    before = "x" * 1000
    problem = Diagnostic(
        file="f",
        span=Span(line=1, column=1001, end_line=1, end_column=1004),
        severity=Severity.ERROR,
        code=Code.INVALID_VALUE,
        message="no",
        source_line=f"{before}abc{before}",
    )
    _, line, carets = str(problem).splitlines()
    assert len(line) < 110
    assert line.startswith("  …x")
    assert line.endswith("x…")
    start = carets.index("^")
    assert line[start : start + 3] == "abc"
    assert carets.count("^") == 3


def test_no_character_of_the_file_reaches_the_terminal_as_a_control() -> None:
    text = str(errors_of("FROM m\n\x1b[31mX\x9b31m y\x1b]0;t\x07\u202e\nPARAMETER \x1b[2J 1"))
    assert all(character.isprintable() or character == "\n" for character in text)


def test_tools_get_stable_keys() -> None:
    (problem,) = errors_of("FROM m\nMESSAGE User hi").diagnostics()
    assert json.loads(json.dumps(problem.to_json())) == {
        "file": "Modelfile",
        "line": 2,
        "column": 9,
        "end_line": 2,
        "end_column": 13,
        "severity": "error",
        "code": "invalid-role",
        "message": "unknown role 'User'",
        "expected": ["system", "user", "assistant"],
        "suggestion": "user",
        "hint": None,
    }


def test_warnings_come_with_the_errors() -> None:
    found = errors_of("PARAMETER low_vram 1\nSYSTEM s")
    assert [(each.severity, each.code) for each in found.diagnostics()] == [
        ("error", "no-from"),
        ("warning", "deprecated-parameter"),
    ]
    assert "warning: parameter low_vram is deprecated" in str(found)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("FROM m\nRUN x", UnknownInstruction),
        ("FROM m\nSYSTEM", ModelfileSyntaxError),
        ("FROM m\nPARAMETER seed x", InvalidParameter),
        ("FROM m\nREQUIRES x", InvalidInstruction),
        ("", MissingFrom),
    ],
)
def test_each_error_has_its_class(text: str, kind: type[ModelfileError]) -> None:
    group = errors_of(text)
    assert [type(error) for error in group.exceptions] == [kind]
    with pytest.RaisesGroup(kind):
        raise group
    assert isinstance(group, ModelfileError)
    assert group.errors[0].span == group.diagnostics()[0].span


def test_a_group_splits_into_groups() -> None:
    matched, rest = errors_of("RUN x\nREQUIRES x\nFROM m").split(InvalidInstruction)
    assert isinstance(matched, ModelfileErrors)
    assert isinstance(rest, ModelfileErrors)
    assert (len(matched.errors), len(rest.errors)) == (1, 1)


@pytest.mark.parametrize("text", ["", "\n\n", "# FROM m", "SYSTEM s", b"", b"\xef\xbb\xbf"])
def test_a_file_without_from_is_an_error(text: str | bytes) -> None:
    assert [each.code for each in errors_of(text).errors] == ["no-from"]


@pytest.mark.parametrize("text", ["FORM m", "FROM", "FROM:m", 'FROM "m', "SYSTEM s\nfrom"])
def test_a_broken_from_is_told_once(text: str) -> None:
    assert len(errors_of(text).errors) == 1


@pytest.mark.parametrize("line", ["FROM ", 'FROM ""', "ADAPTER ", 'DRAFT """"""'])
def test_an_empty_path_is_an_error_and_not_the_current_directory(line: str) -> None:
    assert [each.code for each in errors_of(f"{line}\nFROM m").errors] == ["empty-operand"]


def test_a_draft_cannot_be_the_model_itself() -> None:
    assert [each.code for each in errors_of("FROM ./a\nDRAFT ./a").errors] == ["same-path"]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("FROM m\r\n\r\nFOO x", 3, 1),
        ("FROM m\r\rFOO x", 3, 1),
        ("FROM m\nSYSTEM\n", 2, 1),
        ('FROM m\r\nSYSTEM """a\r\nb"""\r\n  FOO x', 4, 3),
        ("\ufeffFOO x\nFROM m", 1, 1),
    ],
)
def test_lines_count_as_editors_count_them(text: str, line: int, column: int) -> None:
    span = errors_of(text).errors[0].span
    assert span is not None
    assert (span.line, span.column) == (line, column)


def test_lines_of_a_text_without_quotes_are_one_error_that_shows_the_quotes() -> None:
    (error,) = errors_of("FROM m\nSYSTEM You are\na pirate.\n\nFormidable.\nFrom Brest\n").errors
    assert error.hint == 'a text of several lines stands in quotes: SYSTEM """…"""'


def test_reading_goes_on_at_the_next_command() -> None:
    found = errors_of('FROM m\nSYSTEM "a\nb\nPARAMETER x 1\n  license\nPRAMETER y 1\n')
    assert [each.span.line for each in found.diagnostics()] == [2, 4, 5, 6]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("// c\nFROM m", "a comment starts with #"),
        ("F\0R\0O\0M\0 \0m\0", "UTF-16"),
        ("FROM m\nPARAMETER seed 1 # one", "a comment needs a line of its own"),
        ('FROM m\nSYSTEM "a" b', "only a comment may follow the closing \" on its line, not 'b'"),
    ],
)
def test_hints_say_what_to_do(text: str, hint: str) -> None:
    assert hint in (errors_of(text).errors[0].hint or "")


def test_a_no_break_space_after_a_keyword_is_named() -> None:
    (error,) = errors_of("FROM\xa0m").errors
    assert str(error) == "a space must follow FROM, not U+00A0"


def test_errors_are_told_up_to_a_limit() -> None:
    assert len(errors_of("FOO x\n" * 1000).errors) == Problems.LIMIT


def test_a_file_beyond_any_reason_is_refused() -> None:
    assert [each.code for each in errors_of("#" * (MAX_SIZE + 1)).errors] == ["too-large"]


def test_other_stages_report_in_the_same_form() -> None:
    modelfile = parse("FROM ./missing.gguf", file_name="dir/Modelfile")
    assert modelfile.source is not None
    span = modelfile.instructions[0].value_span
    assert span is not None
    problems = Problems(modelfile.source)
    problems.error(
        InvalidInstruction("no such file", keyword="FROM", code=Code.INVALID_VALUE), span
    )
    with pytest.raises(ModelfileErrors) as caught:
        problems.raise_errors()
    assert str(caught.value) == (
        "dir/Modelfile:1:6: no such file\n  FROM ./missing.gguf\n       ^^^^^^^^^^^^^^"
    )


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("FROM m\nTEMPLATE {{ if .X }}", 2, 10, "unexpected EOF"),
        ('FROM m\nTEMPLATE """a\n  {{ foo }}\n"""', 3, 6, 'function "foo" not defined'),
        ('FROM m\nTEMPLATE "a\n{{ end }}"', 3, 1, "unexpected {{end}}"),
        ('FROM m\r\nTEMPLATE """a\r\n{{ .A }} {{ b }}"""', 3, 13, 'function "b" not defined'),
        ("FROM m\nTEMPLATE a {{ .X", 2, 17, "unclosed action"),
        ('FROM m\nTEMPLATE {{ template "x" }}', 2, 22, "undefined template specified"),
        ("FROM m\nARG F=f\nTEMPLATE a {{ ${F} }}", 3, 10, 'function "f" not defined'),
    ],
)
def test_a_broken_template_is_told_with_its_place_in_the_file(
    text: str, line: int, column: int, message: str
) -> None:
    with pytest.raises(ModelfileErrors) as caught:
        check_template(parse(text))
    (problem,) = caught.value.diagnostics()
    assert (problem.code, problem.message) == ("invalid-template", message)
    assert (problem.span.line, problem.span.column) == (line, column)


def test_all_errors_of_a_template_are_told_at_once() -> None:
    text = '''FROM m
TEMPLATE """{{ if .System }}
{{ $y := jsn . }}{{ $y }}{{ $z }}
{{ range $i, $m := no .Messages }}{{ $i }}{{ $m.Role }}{{ break }}{{ else }}{{ nor }}{{ end }}
{{ define }}{{ end }}{{ end }}{{ $m }}{{ .Fine }}{{ eq "a }}
{{ .Fine }}
"""'''
    with pytest.raises(ModelfileErrors) as caught:
        check_template(parse(text))
    found = [(each.span.line, each.message) for each in caught.value.diagnostics()]
    assert found == [
        (3, 'function "jsn" not defined'),
        (3, 'undefined variable "$z"'),
        (4, 'function "no" not defined'),
        (4, 'function "nor" not defined'),
        (5, "unexpected <define> in command"),
        (5, 'undefined variable "$m"'),
        (5, "unterminated quoted string"),
    ]


def test_an_unclosed_block_is_shown_where_it_opens() -> None:
    with pytest.raises(ModelfileErrors) as caught:
        check_template(parse('FROM m\nTEMPLATE """{{ if .A }}x{{ end }}\n {{ range .B }}y\n"""'))
    assert str(caught.value) == (
        "Modelfile:3:2: unexpected EOF\n   {{ range .B }}y\n   ^^^^^^^^^^^^^^\n"
        "  the range has no {{ end }}"
    )


@pytest.mark.parametrize(
    "text", ["FROM m", "FROM m\nTEMPLATE ", "FROM m\nTEMPLATE {{ x }}\nTEMPLATE {{ .Prompt }}"]
)
def test_only_the_template_that_counts_is_looked_at(text: str) -> None:
    check_template(parse(text))


def test_a_template_without_a_text_is_checked_too() -> None:
    modelfile = Modelfile(instructions=(From(value="m"), Template(value="{{")))
    with pytest.raises(ModelfileErrors, match="1 error"):
        check_template(modelfile)


def test_messages_stay_short_however_long_the_words_are() -> None:
    long = "a" * 10_000
    texts = [f"{long} x", f"PARAMETER {long}", f"PARAMETER {long}=", f"PARAMETER {long} 1"]
    texts += [f"MESSAGE {long}", f"MESSAGE {long}:", f"MESSAGE {long} x", f"ARG {long} x"]
    texts += [f"REQUIRES {long}", f"ARG A\nSYSTEM ${{{long}}}", f'SYSTEM "a" {long}']
    for text in texts:
        for problem in errors_of(f"FROM m\n{text}").diagnostics():
            assert len(str(problem)) < 600, text
