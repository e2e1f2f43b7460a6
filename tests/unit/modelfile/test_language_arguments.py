"""ARG and `${NAME}`, an addition of olm."""

import pytest

from olmkit.modelfile.arguments import MAX_EXPANDED, Arguments, escape
from olmkit.modelfile.parser import parse
from olmkit.modelfile.problems import ModelfileErrors


def codes(text: str, **arguments: str) -> list[str]:
    with pytest.raises(ModelfileErrors) as caught:
        parse(text, arguments=arguments)
    return [each.code.value for each in caught.value.errors]


def test_a_default_is_put_into_values() -> None:
    modelfile = parse(
        "ARG TAG=8b\nFROM llama3:${TAG}\nARG N=5\nPARAMETER seed ${N}\n"
        'SYSTEM "a ${TAG}${N} b"\nTEMPLATE {{ .Prompt }}${N}\nMESSAGE user ${N}\nLICENSE ${N}'
    )
    assert modelfile.from_ == "llama3:8b"
    assert modelfile.parameters == {"seed": 5}
    assert modelfile.system == "a 8b5 b"
    assert modelfile.template == "{{ .Prompt }}5"
    assert modelfile.messages[0].value == "5"
    assert modelfile.licenses == ("5",)
    assert modelfile.arguments == {"TAG": "8b", "N": "5"}


def test_what_the_caller_gives_goes_before_the_default() -> None:
    text = "ARG TAG=8b\nARG BASE\nFROM ${BASE}:${TAG}"
    modelfile = parse(text, arguments={"TAG": "70b", "BASE": "llama3"})
    assert modelfile.from_ == "llama3:70b"


@pytest.mark.parametrize(
    ("declaration", "value"),
    [
        ("ARG A=", ""),
        ('ARG A=""', ""),
        ("ARG A=x y", "x y"),
        ('ARG A="x\ny"', "x\ny"),
        ('ARG A=" x " # why', " x "),
        ('ARG A="""\n"""', "\n"),
        ("arg A=x", "x"),
        ("ARG A=1\nARG A=2", "2"),
        ("ARG B=1\nARG A=${B}${B}", "11"),
    ],
)
def test_a_default_is_quoted_as_any_value(declaration: str, value: str) -> None:
    assert parse(f"{declaration}\nFROM m\nSYSTEM [${{A}}]").system == f"[{value}]"


def test_without_an_arg_nothing_is_touched() -> None:
    assert parse("FROM m\nSYSTEM ${A} \\${B} $C").system == "${A} \\${B} $C"


@pytest.mark.parametrize(
    "text", ["$A", "${}", "${A", "${A-x}", "${ A }", "${{ .A }}", "{$A}", "\\", "\\\\$A", "\\n"]
)
def test_only_a_name_in_braces_is_looked_at(text: str) -> None:
    assert parse(f"ARG A=1\nFROM m\nSYSTEM {text}").system == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("\\${A}", "${A}"), ("\\\\${A}", "\\1"), ("\\\\\\${A}", "\\${A}"), ("\\\\\\\\${A}", "\\\\1")],
)
def test_a_backslash_keeps_the_text_as_in_a_dockerfile(text: str, value: str) -> None:
    assert parse(f"ARG A=1\nFROM m\nSYSTEM {text}").system == value


def test_what_was_put_in_is_neither_quoted_nor_looked_at_again() -> None:
    text = 'ARG A\nARG B=1\nFROM m\nSYSTEM "${A}"'
    assert parse(text, arguments={"A": '"""\n${B}"'}).system == '"""\n${B}"'


def test_an_argument_without_a_value_is_an_error_where_it_is_used() -> None:
    with pytest.raises(ModelfileErrors) as caught:
        parse("ARG BASE\nFROM m\nSYSTEM say ${BASE}")
    (problem,) = caught.value.diagnostics()
    assert (problem.code, problem.span.line, problem.span.column) == ("undefined-argument", 3, 12)
    assert problem.span.end_column == 19
    assert problem.hint is not None
    assert "--build-arg BASE=" in problem.hint


def test_an_undeclared_argument_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ModelfileErrors) as caught:
        parse("ARG VERSION=1\nFROM m\nSYSTEM ${VERSON}")
    (problem,) = caught.value.diagnostics()
    assert (problem.suggestion, problem.code) == ("${VERSION}", "undefined-argument")
    assert "\\${" in (problem.hint or "")


def test_an_argument_counts_from_its_line_on() -> None:
    with pytest.raises(ModelfileErrors) as caught:
        parse("FROM ${A}\nARG A=1")
    (error,) = caught.value.errors
    assert "further down" in str(error)


def test_every_missing_argument_of_a_value_is_told() -> None:
    assert codes("ARG A\nFROM m\nSYSTEM ${A} ${B}") == ["undefined-argument"] * 2


def test_an_argument_that_no_arg_takes_is_a_warning() -> None:
    (warning,) = parse("ARG BASE=a\nFROM m", arguments={"BASA": "x"}).warnings
    assert (warning.code, warning.suggestion) == ("unused-argument", "BASE")


@pytest.mark.parametrize("line", ["ARG", "ARG ", "ARG 1=2", "ARG A B", "ARG A = 1", "ARG A-B=1"])
def test_a_broken_arg_is_an_error(line: str) -> None:
    assert codes(f"FROM m\n{line}") in (["missing-operand"], ["unexpected-character"])


def test_compatible_knows_no_arg() -> None:
    with pytest.raises(ModelfileErrors) as caught:
        parse("ARG A=1\nFROM m", compatible=True)
    (error,) = caught.value.errors
    assert error.code == "unknown-instruction"
    assert "addition of olm" in (error.hint or "")


def test_values_that_grow_without_bound_are_refused() -> None:
    lines = ["ARG A0=" + "x" * 1000]
    lines += [f"ARG A{n + 1}=" + f"${{A{n}}}" * 10 for n in range(12)]
    assert codes("\n".join(lines) + "\nFROM m\nSYSTEM ${A12}") == ["too-large"]


def test_the_sum_of_all_values_is_bounded_too() -> None:
    arguments = Arguments(given={"A": "x" * 1_000_000})
    arguments.declare("A", None)
    total = sum(len(arguments.expand("${A}")[0]) for _ in range(1000))
    assert total <= MAX_EXPANDED
    assert arguments.is_exhausted


@pytest.mark.parametrize("text", ["${A}", "\\${A}", "\\\\${A}", "x", "${", "${A}${A}\\"])
def test_escaped_text_comes_back(text: str) -> None:
    arguments = Arguments(given={})
    arguments.declare("A", "1")
    assert arguments.expand(escape(text)) == (text, [])
