"""`parse(render(m)) == m` for every Modelfile, and for Ollama's language where it has a way."""

import struct

from hypothesis import example, given, settings
from hypothesis import strategies as st

from olmkit.modelfile.errors import NotRepresentable
from olmkit.modelfile.instructions import (
    TEXT_INSTRUCTIONS,
    From,
    Instruction,
    Message,
    Modelfile,
    Parameter,
    Requires,
    Role,
    System,
)
from olmkit.modelfile.parameters import (
    TABLE,
    ParameterType,
    ParameterValue,
    format_value,
    parse_value,
)
from olmkit.modelfile.parser import parse
from olmkit.modelfile.render import render

# What matters to the language comes often; any other character comes too.
PIECES = ['"', '""', '"""', "\n", "\r", "\r\n", " ", "\t", "#", " # c", "x", "FROM m", "SYSTEM s"]
PIECES += ["${QUOTE}", "${A}", "$", "{", "}", "\\", "\xa0", "\u200d", "\ufeff", "\x00", "é", "🏴"]
TEXTS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.text(max_size=20))
VALUES: dict[ParameterType, st.SearchStrategy[ParameterValue]] = {
    ParameterType.INTEGER: st.integers(-(2**63), 2**63 - 1),
    ParameterType.FLOAT: st.floats(width=32, allow_nan=False, allow_infinity=False),
    ParameterType.BOOLEAN: st.booleans(),
    ParameterType.STRINGS: TEXTS,
}


@st.composite
def parameters(draw: st.DrawFn) -> Parameter:
    row = draw(st.sampled_from(list(TABLE.values())))
    if not row.is_strict:
        return Parameter(name=row.name, value=draw(VALUES[row.type]))
    assert row.minimum is not None
    assert row.maximum is not None
    least, most = int(row.minimum), int(row.maximum)
    if row.type is ParameterType.INTEGER:
        return Parameter(name=row.name, value=draw(st.integers(least, most)))
    return Parameter(name=row.name, value=draw(st.floats(least, most, width=32)))


def texts() -> st.SearchStrategy[Instruction]:
    kinds = [kind for kind in TEXT_INSTRUCTIONS.values() if kind is not Requires]
    return st.builds(lambda kind, text: kind(value=text), st.sampled_from(kinds), TEXTS)


INSTRUCTIONS = st.one_of(
    texts(),
    parameters(),
    st.builds(Message, role=st.sampled_from(Role), value=TEXTS),
    st.builds(Requires, value=st.sampled_from(["1", "v0.14.0", "1.2.3-rc.1+b"])),
)


def is_valid(modelfile: Modelfile) -> bool:
    """Whether the file is one that can be built: what is no file cannot come back."""
    paths = (*modelfile.froms, *modelfile.drafts)
    adapters = [each for each in modelfile.instructions if each.keyword == "ADAPTER"]
    return (
        "" not in paths
        and not any(getattr(each, "value", "") == "" for each in adapters)
        and not set(modelfile.drafts) & set(modelfile.froms)
    )


MODELFILES = st.builds(
    lambda base, rest: Modelfile(instructions=(From(value=base), *rest)),
    TEXTS,
    st.lists(INSTRUCTIONS, max_size=6),
).filter(is_valid)


def system(text: str) -> Modelfile:
    return Modelfile(instructions=(From(value="m"), System(value=text)))


@settings(deadline=None)
@given(MODELFILES)
@example(system('"""\n'))
@example(system('a" # b\nFROM c'))
@example(system('"""" # b\n# c'))
@example(system("${QUOTE}\n" + '"""\n'))
def test_what_is_rendered_parses_to_the_same(modelfile: Modelfile) -> None:
    text = render(modelfile)
    assert parse(text) == modelfile
    assert parse(text.encode()) == modelfile
    assert parse(text, arguments={"OTHER": "x"}) == modelfile


@settings(deadline=None)
@given(MODELFILES)
@example(system('a" # b\nFROM c'))
@example(system('"""x""" # c\nFROM y'))
def test_what_is_rendered_for_ollama_parses_to_the_same_there(modelfile: Modelfile) -> None:
    try:
        text = render(modelfile, compatible=True)
    except NotRepresentable:
        values = [getattr(each, "value", "") for each in modelfile.instructions]
        assert any(
            '"""' in value and ("\n" in value or "\r" in value) for value in map(str, values)
        )
    else:
        if "pypi://" not in text and "@sha256:" not in text:
            assert parse(text, compatible=True) == modelfile


@settings(deadline=None)
@given(MODELFILES)
def test_rendering_again_changes_nothing(modelfile: Modelfile) -> None:
    assert render(parse(render(modelfile))) == render(modelfile)


@settings(deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_prints_as_text_that_is_the_same_32_bits(value: float) -> None:
    text = format_value(Parameter(name="temperature", value=value).value)
    parsed = parse_value("temperature", text)
    assert struct.pack("f", parsed) == struct.pack("f", value) or parsed == value == 0


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 1))
def test_an_integer_prints_as_its_digits(value: int) -> None:
    assert format_value(value) == str(value)
    assert parse_value("seed", format_value(value)) == value
