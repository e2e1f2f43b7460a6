"""The table of parameters, text to value and back."""

import struct

import pytest

from olmkit.modelfile.errors import InvalidParameter
from olmkit.modelfile.parameters import (
    DEPRECATED,
    TABLE,
    ParameterType,
    ParameterValue,
    check_value,
    format_value,
    is_in_range,
    parse_value,
)
from olmkit.modelfile.parser import parse
from olmkit.modelfile.problems import ModelfileErrors

INTEGERS = {"num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict"}
INTEGERS |= {"num_keep", "seed", "num_predict", "top_k", "repeat_last_n"}
FLOATS = {"top_p", "min_p", "typical_p", "temperature", "repeat_penalty"}
FLOATS |= {"presence_penalty", "frequency_penalty"}
SAMPLERS = {
    "xtc_probability": 0.0,
    "xtc_threshold": 0.1,
    "dry_multiplier": 0.0,
    "dry_base": 1.75,
    "dry_allowed_length": 2,
    "dry_penalty_last_n": 64,
    "dry_sequence_breakers": ("\n", ":", '"', "*"),
    "top_n_sigma": -1.0,
    "mirostat": 0,
    "mirostat_tau": 5.0,
    "mirostat_eta": 0.1,
    "adaptive_target": -1.0,
    "adaptive_decay": 0.9,
    "dynatemp_range": 0.0,
    "dynatemp_exponent": 1.0,
    "adapter_scale": 1.0,
}
"""llama.cpp's, with its defaults: `common_params_sampling` of
https://github.com/ggml-org/llama.cpp/blob/master/common/common.h"""
_TYPES = {
    int: ParameterType.INTEGER,
    float: ParameterType.FLOAT,
    tuple: ParameterType.STRINGS,
}


def test_the_table_has_the_reference_s_names_and_types() -> None:
    expected = {
        **dict.fromkeys(INTEGERS, ParameterType.INTEGER),
        **dict.fromkeys(FLOATS, ParameterType.FLOAT),
        "use_mmap": ParameterType.BOOLEAN,
        "stop": ParameterType.STRINGS,
        "reproducible": ParameterType.BOOLEAN,  # olm's own
        "require_gpu": ParameterType.BOOLEAN,  # olm's own
        "min_ctx": ParameterType.INTEGER,  # olm's own
        **{name: _TYPES[type(default)] for name, default in SAMPLERS.items()},
    }
    assert {row.name: row.type for row in TABLE.values()} == expected


def test_the_defaults_are_the_reference_s() -> None:
    assert {row.name: row.default for row in TABLE.values() if row.default is not None} == {
        "num_predict": -1,
        "num_keep": 4,
        "temperature": 0.8,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.0,
        "typical_p": 1.0,
        "repeat_last_n": 64,
        "repeat_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": -1,
        "reproducible": False,
        "require_gpu": False,
        "min_ctx": 0,
        "num_batch": 512,
        "num_gpu": -1,
        "num_thread": 0,
        "draft_num_predict": 4,
        "stop": (),
        **SAMPLERS,
    }


def test_every_default_has_its_type_and_lies_in_its_range() -> None:
    for row in TABLE.values():
        assert row.meaning
        if row.default is None or isinstance(row.default, tuple):
            continue
        assert check_value(row.name, row.default) == row.default
        assert is_in_range(row.name, row.default)


@pytest.mark.parametrize(
    ("name", "range_"), [("top_p", "0 to 1"), ("num_gpu", "at least -1"), ("seed", "")]
)
def test_ranges_read_as_text(name: str, range_: str) -> None:
    assert TABLE[name].range == range_


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("num_ctx", "4096", 4096),
        ("num_ctx", "+5", 5),
        ("num_ctx", "007", 7),
        ("seed", "-1", -1),
        ("seed", str(2**63 - 1), 2**63 - 1),
        ("seed", str(-(2**63)), -(2**63)),
        ("num_ctx", "4\u200b096", 4096),
        ("temperature", "0.7", 0.7),
        ("temperature", "1", 1.0),
        ("temperature", ".5", 0.5),
        ("temperature", "5.", 5.0),
        ("temperature", "-2", -2.0),
        ("temperature", "1e-3", 0.001),
        ("temperature", "0x1p-2", 0.25),
        ("temperature", "0.1000000001", 0.1),
        ("use_mmap", "true", True),
        ("use_mmap", "0", False),
        ("stop", "", ""),
        ("stop", ' "a" ', ' "a" '),
    ],
)
@pytest.mark.parametrize("compatible", [False, True], ids=["olm", "compatible"])
def test_text_to_value(name: str, text: str, value: ParameterValue, compatible: bool) -> None:
    parsed = parse_value(name, text, compatible=compatible)
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_words_for_true(text: str) -> None:
    assert parse_value("use_mmap", text) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_words_for_false(text: str) -> None:
    assert parse_value("use_mmap", text) is False


@pytest.mark.parametrize(
    ("name", "text", "suggestion"),
    [
        ("num_ctx", "", None),
        ("num_ctx", "4096.0", "4096"),
        ("num_ctx", "4,096", "4096"),
        ("num_ctx", "4_096", "4096"),
        ("num_ctx", "many", None),
        ("num_ctx", "1 # one", "1"),
        ("num_ctx", "0x10", None),
        ("num_ctx", "٤", None),
        ("num_ctx", str(2**63), None),
        ("num_ctx", "9" * 100_000, None),
        ("temperature", "hot", None),
        ("temperature", "0,7", "0.7"),
        ("temperature", "1e39", None),
        ("temperature", "0x1p9999", None),
        ("temperature", "nan", None),
        ("temperature", "inf", None),
        ("temperature", "1 # hot", "1"),
        ("temperature", "", None),
        ("use_mmap", "yes", "true"),
        ("use_mmap", "off", "false"),
        ("use_mmap", "tRUE", None),
        ("use_mmap", "", None),
    ],
)
def test_text_of_another_type_is_an_error_with_a_suggestion(
    name: str, text: str, suggestion: str | None
) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_value(name, text)
    assert (caught.value.name, caught.value.value) == (name, text)
    assert caught.value.suggestion == suggestion
    assert len(str(caught.value)) < 120


def test_integers_as_ollama_prints_them_are_read_unless_compatible() -> None:
    assert parse_value("num_ctx", "1.048576e+06") == 1048576
    with pytest.raises(InvalidParameter):
        parse_value("num_ctx", "1.048576e+06", compatible=True)
    with pytest.raises(InvalidParameter):
        parse_value("num_ctx", "1.5e+00")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1048576, "1048576"),
        (-(2**63), "-9223372036854775808"),
        (1048576.0, "1048576"),
        (0.7, "0.7"),
        (0.1 + 1e-12, "0.1"),
        (struct.unpack("f", struct.pack("f", 0.7))[0], "0.7"),
        (1.0, "1"),
        (0.0, "0"),
        (1e-7, "1e-07"),
        (True, "true"),
        (False, "false"),
        ("a b", "a b"),
    ],
)
def test_values_print_short_and_integers_without_an_exponent(
    value: ParameterValue, text: str
) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(
    ("name", "value", "checked"),
    [
        ("num_ctx", 4096.0, 4096),
        ("temperature", 1, 1.0),
        ("temperature", 0.1 + 1e-12, 0.1),
        ("use_mmap", True, True),
        ("stop", "x", "x"),
    ],
)
def test_values_of_json_take_the_type_of_the_table(
    name: str, value: ParameterValue, checked: ParameterValue
) -> None:
    result = check_value(name, value)
    assert (result, type(result)) == (checked, type(checked))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_ctx", 4096.5),
        ("num_ctx", True),
        ("num_ctx", "1"),
        ("num_ctx", 2**63),
        ("num_ctx", float("nan")),
        ("num_ctx", float("inf")),
        ("temperature", True),
        ("temperature", float("nan")),
        ("temperature", 1e39),
        ("temperature", 10**400),
        ("use_mmap", 1),
        ("stop", ["x"]),
        ("stop", 1),
        ("stop", None),
    ],
)
def test_values_of_another_type_are_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidParameter, match=f"{name} takes "):
        check_value(name, value)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("temprature", "temperature"),
        ("Temperature", "temperature"),
        ("max_tokens", "num_predict"),
        ("N_CTX", "num_ctx"),
        ("tfs_z", None),
        ("rope_frequency_base", None),
        ("numa", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_unknown_names_are_an_error_with_the_nearest_name(
    name: str, suggestion: str | None
) -> None:
    with pytest.raises(InvalidParameter, match="unknown parameter") as caught:
        parse_value(name, "1")
    assert caught.value.suggestion == suggestion
    assert caught.value.code == "unknown-parameter"


@pytest.mark.parametrize("name", sorted(DEPRECATED))
def test_deprecated_names_are_dropped_with_a_warning_whatever_their_value(name: str) -> None:
    modelfile = parse(f"FROM m\nPARAMETER {name} anything")
    assert modelfile.parameters == {}
    assert [each.code for each in modelfile.warnings] == ["deprecated-parameter"]


def test_unknown_parameters_are_found_by_the_parser() -> None:
    with pytest.raises(ModelfileErrors) as caught:
        parse("FROM m\nPARAMETER num_gqa 1")
    assert [each.code for each in caught.value.errors] == ["unknown-parameter"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("mirostat", "3", "mirostat is 0 to 2, not 3"),
        ("xtc_probability", "1.5", "xtc_probability is 0 to 1, not 1.5"),
        ("dry_penalty_last_n", "-2", "dry_penalty_last_n is -1 to 16777216, not -2"),
        ("adaptive_decay", "1", "adaptive_decay is 0 to 0.99, not 1"),
    ],
)
def test_values_outside_of_a_strict_range_are_refused(name: str, text: str, says: str) -> None:
    with pytest.raises(InvalidParameter) as parsed:
        parse_value(name, text)
    with pytest.raises(InvalidParameter) as checked:
        check_value(name, float(text))
    assert str(parsed.value) == str(checked.value) == says
    assert parsed.value.code == "out-of-range"


def test_breakers_of_phrases_add_up_as_stop_texts_do() -> None:
    lines = 'dry_sequence_breakers "\n"', "dry_sequence_breakers ;", "stop a", "mirostat 2"
    modelfile = parse("FROM m\n" + "".join(f"PARAMETER {line}\n" for line in lines))
    assert modelfile.parameters == {
        "dry_sequence_breakers": ["\n", ";"],
        "stop": ["a"],
        "mirostat": 2,
    }
    assert modelfile.warnings == ()
