"""Encodings, commands, values and quotes (docs/modelfile.md)."""

import codecs

import pytest

from olmkit.modelfile.instructions import From, Instruction, License, Message, Role, System
from olmkit.modelfile.parser import parse
from olmkit.modelfile.problems import ModelfileErrors

MODES = pytest.mark.parametrize("compatible", [False, True], ids=["olm", "compatible"])


def read(text: str | bytes, *, compatible: bool = False) -> tuple[Instruction, ...]:
    return parse(text, compatible=compatible).instructions


def system_of(source: str, *, compatible: bool = False) -> str | None:
    return parse(f"FROM m\n{source}", compatible=compatible).system


@MODES
@pytest.mark.parametrize(
    "data",
    [
        pytest.param("FROM m\nSYSTEM é".encode(), id="utf-8"),
        pytest.param(codecs.BOM_UTF8 + "FROM m\nSYSTEM é".encode(), id="utf-8 with mark"),
        pytest.param(
            codecs.BOM_UTF16_LE + "FROM m\nSYSTEM é".encode("utf-16-le"), id="utf-16 little endian"
        ),
        pytest.param(
            codecs.BOM_UTF16_BE + "FROM m\nSYSTEM é".encode("utf-16-be"), id="utf-16 big endian"
        ),
        pytest.param("\ufeffFROM m\nSYSTEM é", id="text with mark"),
    ],
)
def test_the_byte_order_mark_decides_the_encoding(data: str | bytes, compatible: bool) -> None:
    assert read(data, compatible=compatible) == (From(value="m"), System(value="é"))


def test_bytes_that_are_no_utf8_become_replacement_characters() -> None:
    assert read(b"FROM m\xff") == (From(value="m\ufffd"),)
    assert read(codecs.BOM_UTF16_LE + "FROM m".encode("utf-16-le") + b"x") == (
        From(value="m\ufffd"),
    )


def test_lone_surrogates_in_a_text_become_replacement_characters() -> None:
    assert read("FROM m\ud800") == (From(value="m\ufffd"),)


@MODES
@pytest.mark.parametrize(
    "source",
    ["from m", "From m", "FROM m", "  \t FROM m", "\n\r\n FROM m\n", "# x\n\n  # y\nFROM m # z\n"],
)
def test_keywords_have_any_letter_case_indentation_and_comments_before_them(
    source: str, compatible: bool
) -> None:
    assert parse(source, compatible=compatible).from_ in ("m", "m # z")


@MODES
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_every_line_end_ends_a_command(end: str, compatible: bool) -> None:
    text = end.join(["FROM m", "# comment", "", "SYSTEM s", ""])
    assert read(text, compatible=compatible) == (From(value="m"), System(value="s"))


@MODES
@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("FROM     FOO BAR    ", "FOO BAR"),
        ('FROM "FOO  BAR  "', "FOO  BAR  "),
        ("FROM\tx", "x"),
        ("FROM a  b\t\tc", "a  b\t\tc"),
        ("FROM foo # c", "foo # c"),
        ("FROM # c", "# c"),
        ("FROM 'a'", "'a'"),
        ('FROM a"b"', 'a"b"'),
        (r'FROM "\n"', r"\n"),
    ],
)
def test_a_value_of_one_line(source: str, value: str, compatible: bool) -> None:
    assert parse(source, compatible=compatible).from_ == value


@MODES
@pytest.mark.parametrize(
    ("source", "value"),
    [
        ('SYSTEM """\nhi\n"""', "\nhi\n"),
        ('SYSTEM ""', ""),
        ('SYSTEM """"""', ""),
        ("SYSTEM ", ""),
        ("SYSTEM \t \nLICENSE l", ""),
        ('SYSTEM "a\nb"', "a\nb"),
        ('SYSTEM """"hi""""', '"hi"'),
        ('SYSTEM """a\r\nb"""', "a\r\nb"),
        ('SYSTEM """a\rb"""', "a\rb"),
        ('SYSTEM """x""" y\nLICENSE z"""', 'x""" y\nLICENSE z'),
        ('SYSTEM """\n# text\n"""', "\n# text\n"),
        ('SYSTEM "\n# text\n"', "\n# text\n"),
        ('SYSTEM """  x  """  \t', "  x  "),
        ('SYSTEM "" "', '" '),
        ('SYSTEM "a" "b"', 'a" "b'),
        ('SYSTEM """"\n"""', '"\n'),
        ('SYSTEM """""\n"""', '""\n'),
        ('SYSTEM """a"b\n""\n"""', 'a"b\n""\n'),
        ('SYSTEM "\n\n"', "\n\n"),
        ('SYSTEM """a"""\r\nLICENSE b', "a"),
        ('SYSTEM  \t"""a"""', "a"),
    ],
)
def test_quotes_hold_a_value_together(source: str, value: str, compatible: bool) -> None:
    assert system_of(source, compatible=compatible) == value


@MODES
def test_a_message_may_span_lines(compatible: bool) -> None:
    read_back = read('FROM m\nMESSAGE user "multi\nline"', compatible=compatible)
    assert read_back[1] == Message(role=Role.USER, value="multi\nline")


def test_several_blanks_may_stand_before_a_name_and_a_role() -> None:
    modelfile = parse("FROM m\nPARAMETER  \tseed 1\nMESSAGE\t user  hi")
    assert modelfile.parameters == {"seed": 1}
    assert [message.value for message in modelfile.messages] == ["hi"]


def test_several_blanks_before_a_name_are_an_error_where_ollama_reads_none() -> None:
    with pytest.raises(ModelfileErrors) as caught:
        parse("FROM m\nPARAMETER  seed 1\nMESSAGE\t user hi", compatible=True)
    assert [each.code for each in caught.value.diagnostics()] == ["not-in-ollama"] * 2


@MODES
@pytest.mark.parametrize(
    "character",
    ["\xa0", "\u3000", "\xad", "\u200d", "\u200c", "\ufeff", "\u2028", "\ue000", "\x07", "\x00"],
    ids=lambda character: f"U+{ord(character):04X}",
)
def test_no_character_inside_a_value_is_lost(character: str, compatible: bool) -> None:
    value = f"a{character}b"
    assert system_of(f"SYSTEM {value}", compatible=compatible) == value
    assert system_of(f'SYSTEM "{character}{value}{character}"', compatible=compatible) == (
        f"{character}{value}{character}"
    )


@pytest.mark.parametrize("blank", ["\xa0", "\u3000", "\u200b", "\ufeff", "\x07", "\x0b", "\x85"])
def test_invisible_characters_around_a_value_and_before_a_keyword_are_no_text(blank: str) -> None:
    assert read(f"{blank}FROM {blank}m{blank}\n{blank}SYSTEM {blank}'x'{blank}") == (
        From(value="m"),
        System(value="'x'"),
    )
    assert system_of(f'SYSTEM {blank}"x"{blank}') == "x"


def test_a_family_emoji_and_a_flag_survive() -> None:
    text = "👨\u200d👩\u200d👧 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
    assert system_of(f"SYSTEM {text}") == text


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ('SYSTEM "x" # why', "x"),
        ('SYSTEM "x"\t#why\nLICENSE l', "x"),
        ('SYSTEM """\nx\n""" # why\n\n# more\n\nLICENSE l', "\nx\n"),
        ('SYSTEM "x" # "why" so\nLICENSE l', "x"),
        ('SYSTEM "a" b\nc" # why\n', 'a" b\nc'),
    ],
)
def test_a_comment_may_follow_a_closing_quote(source: str, value: str) -> None:
    assert system_of(source) == value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ('SYSTEM "a"#b"', 'a"#b'),
        ('SYSTEM """\nx = """doc""" # text\ny = 1\n"""', '\nx = """doc""" # text\ny = 1\n'),
        ('SYSTEM "a" # say "hi"', 'a" # say "hi'),
    ],
)
def test_what_only_looks_like_a_comment_stays_in_the_value(source: str, value: str) -> None:
    assert system_of(source) == value


def test_a_value_that_ends_in_a_would_be_comment_gets_a_warning() -> None:
    (warning,) = parse('FROM m\nSYSTEM "a" # say "hi"').warnings
    assert (warning.code, warning.span.line, warning.span.column) == ("comment-in-value", 2, 11)


def test_compatible_reads_on_after_a_comment_as_ollama_does_and_warns() -> None:
    source = 'FROM m\nSYSTEM "x" # why\nPARAMETER stop "y"'
    assert parse(source).parameters == {"stop": ["y"]}
    modelfile = parse(source, compatible=True)
    assert modelfile.system == 'x" # why\nPARAMETER stop "y'
    assert [each.code for each in modelfile.warnings] == ["comment-in-value"]


def test_compatible_has_no_comment_after_the_last_quote() -> None:
    with pytest.raises(ModelfileErrors) as caught:
        parse('FROM m\nLICENSE "x" # why', compatible=True)
    assert [each.code for each in caught.value.diagnostics()] == ["unclosed-quote"]


def test_compatible_warns_of_characters_that_ollama_drops() -> None:
    (warning,) = parse("FROM m\nSYSTEM a\u200db", compatible=True).warnings
    assert warning.code == "dropped-by-ollama"
    assert "U+200D" in warning.message


@pytest.mark.parametrize("value", ["“Be terse.”", "‘x’", "«x»", "„x“"])
def test_curly_quotes_are_warned_of(value: str) -> None:
    modelfile = parse(f"FROM m\nSYSTEM {value}")
    assert modelfile.system == value
    (warning,) = modelfile.warnings
    assert warning.code == "curly-quote"
    assert value[0] in warning.message
    assert not parse(f'FROM m\nSYSTEM "He said {value}"').warnings


def test_a_license_of_many_lines_is_one_value() -> None:
    text = "\n".join(f'line {number} "quoted" # not a comment' for number in range(200)) + "\nend"
    assert read(f'FROM m\nLICENSE """{text}"""') == (From(value="m"), License(value=text))
