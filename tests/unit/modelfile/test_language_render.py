"""A Modelfile to text and back (docs/modelfile.md, "Printing")."""

import pytest

from olmkit.modelfile.errors import NotRepresentable
from olmkit.modelfile.instructions import (
    Adapter,
    Draft,
    From,
    License,
    Message,
    Modelfile,
    Parameter,
    Parser,
    Renderer,
    Requires,
    Role,
    System,
    Template,
)
from olmkit.modelfile.parser import parse
from olmkit.modelfile.render import quote, render


def test_each_instruction_is_one_command_in_the_given_order() -> None:
    modelfile = Modelfile(
        instructions=(
            From(value="llama3"),
            Adapter(value="./a"),
            Draft(value="./d"),
            Template(value="{{ .Prompt }}"),
            System(value="be\nbrief"),
            Renderer(value="r"),
            Parser(value="p"),
            Parameter(name="num_ctx", value=1048576),
            Parameter(name="temperature", value=0.7),
            Parameter(name="use_mmap", value=True),
            Parameter(name="stop", value="<|end|>"),
            Parameter(name="stop", value=" x "),
            License(value='say "hi"\n'),
            Message(role=Role.ASSISTANT, value="hello"),
            Requires(value="0.14.0"),
        )
    )
    text = (
        "FROM llama3\nADAPTER ./a\nDRAFT ./d\nTEMPLATE {{ .Prompt }}\n"
        'SYSTEM "be\nbrief"\nRENDERER r\nPARSER p\nPARAMETER num_ctx 1048576\n'
        "PARAMETER temperature 0.7\nPARAMETER use_mmap true\nPARAMETER stop <|end|>\n"
        'PARAMETER stop " x "\nLICENSE """say "hi"\n"""\nMESSAGE assistant hello\n'
        "REQUIRES 0.14.0\n"
    )
    assert render(modelfile) == text
    assert render(modelfile, compatible=True) == text
    assert parse(text) == parse(text, compatible=True) == modelfile


def test_nothing_renders_as_nothing() -> None:
    assert render(Modelfile()) == ""


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", '""'),
        ("a b", "a b"),
        ("# a", "# a"),
        ("'a'", "'a'"),
        ('a"b"', 'a"b"'),
        (" a", '" a"'),
        ("a\t", '"a\t"'),
        ("a\xa0", '"a\xa0"'),
        ("a\nb", '"a\nb"'),
        ("\r", '"\r"'),
        ('"', '"""""""'),
        ('""', '""""""""'),
        ('"a', '""""a"""'),
        ('"a"', '""""a""""'),
        ('"""a"""', '""""""a""""""'),
        ('a\n"b"\nc', '"""a\n"b"\nc"""'),
        ('a "b"\n', '"""a "b"\n"""'),
        ('"""\n', None),
        ('x"""\ny', None),
        ('x"""  \r\ny', None),
        ('x"""\xa0\ny', None),
        ('"""x""" # c\nFROM y', None),
    ],
)
def test_a_value_has_no_more_quotes_than_it_needs(text: str, written: str | None) -> None:
    assert quote(text) == written


@pytest.mark.parametrize(
    "text", ['"""\n', 'x"""\ny', '"""\n"""\n"""', 'a""""""\n${QUOTE}', '"""x""" # c\nFROM y']
)
def test_lines_that_end_with_three_quotes_need_an_argument(text: str) -> None:
    modelfile = Modelfile(
        instructions=(From(value="m"), System(value=text), License(value="${A} \\${B} ${")),
    )
    written = render(modelfile)
    assert written.startswith('ARG QUOTE="""""""\nFROM m\n')
    assert parse(written) == modelfile


def test_a_value_that_ollama_cannot_read_is_refused_for_it() -> None:
    modelfile = Modelfile(instructions=(From(value="m"), System(value='x"""\ny')))
    with pytest.raises(NotRepresentable, match="SYSTEM has a line") as caught:
        render(modelfile, compatible=True)
    assert caught.value.keyword == "SYSTEM"


def test_what_only_olm_reads_as_a_comment_is_plain_for_ollama() -> None:
    modelfile = Modelfile(instructions=(From(value="m"), System(value='"""x""" # c\nFROM y')))
    assert parse(render(modelfile, compatible=True), compatible=True) == modelfile
    assert parse(render(modelfile)) == modelfile


def test_deprecated_parameters_and_comments_are_not_printed() -> None:
    text = "# c\nFROM m\nPARAMETER low_vram 1\nPARAMETER num_ctx 1.048576e+06\n"
    assert render(parse(text)) == "FROM m\nPARAMETER num_ctx 1048576\n"
