"""The parameters of a model: the one table, and text to value and back.

The language, the command line's help, the manual pages, the chat session and the API's options
all read this table. What a parameter does to a running model is the engine's affair.
Source: `Options` of https://github.com/ollama/ollama/blob/v0.17.4/api/types.go
"""

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from olmkit.modelfile.booleans import parse_boolean
from olmkit.modelfile.diagnostics import Code, nearest, quoted
from olmkit.modelfile.errors import InvalidParameter

ParameterValue = int | float | bool | str


class ParameterType(StrEnum):
    """What a parameter takes."""

    INTEGER = "integer"
    """64 bits, signed, decimal."""
    FLOAT = "float"
    """32 bits, finite."""
    BOOLEAN = "boolean"
    STRINGS = "strings"
    """Text; each mention adds one to a list."""


@dataclass(frozen=True, slots=True)
class ParameterInfo:
    """One row of the table."""

    name: str
    type: ParameterType
    default: ParameterValue | tuple[str, ...] | None
    """What holds when nobody sets it; None: chosen for the model and the machine."""
    meaning: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    """Values outside are accepted, as in Ollama, with a warning, unless `is_strict`."""
    is_load_time: bool = False
    """Whether a change makes the model load again."""
    is_strict: bool = False
    """Whether values outside of the range are refused: those of parameters that Ollama lacks."""

    @property
    def range(self) -> str:
        """The range as text, such as `0 to 1` or `at least -1`; empty when there is none."""
        if self.minimum is None:
            return ""
        least = format_value(self.minimum)
        if self.maximum is None:
            return f"at least {least}"
        return f"{least} to {format_value(self.maximum)}"


_DRY_BREAKERS = ("\n", ":", '"', "*")
"""llama.cpp's: what one line or label of a list has in common with the next is no repetition."""

INTEGER, FLOAT, BOOLEAN, STRINGS = ParameterType
_Row = ParameterInfo


def _strict(
    name: str, kind: ParameterType, default: float, meaning: str, least: float, most: float
) -> ParameterInfo:
    return _Row(name, kind, default, meaning, "", least, most, is_strict=True)


_SAMPLERS = (
    _strict("xtc_probability", FLOAT, 0.0, "how often to drop the likeliest; 0: never", 0, 1),
    _strict("xtc_threshold", FLOAT, 0.1, "all but one above this share; over 0.5: none", 0, 1),
    _strict("dry_multiplier", FLOAT, 0.0, "hold repeated phrases back; 0: off", 0, 1000),
    _strict("dry_base", FLOAT, 1.75, "how fast that grows with their length", 1, 100),
    _strict("dry_allowed_length", INTEGER, 2, "tokens that may repeat freely", 0, 1 << 24),
    _strict("dry_penalty_last_n", INTEGER, 64, "how far back; -1: everywhere", -1, 1 << 24),
    _Row("dry_sequence_breakers", STRINGS, _DRY_BREAKERS, "text that ends a phrase; a list"),
    _strict("top_n_sigma", FLOAT, -1.0, "drop logits so many sigma down; -1: off", -1, 100),
    _strict("mirostat", INTEGER, 0, "steer the surprise, version 1 or 2; 0: off", 0, 2),
    _strict("mirostat_tau", FLOAT, 5.0, "the surprise in bits that is aimed at", 0, 100),
    _strict("mirostat_eta", FLOAT, 0.1, "how fast it gets there", 0, 1),
    _strict("adaptive_target", FLOAT, -1.0, "draw near this probability; -1: off", -1, 1),
    _strict("adaptive_decay", FLOAT, 0.9, "how long that remembers what was drawn", 0, 0.99),
    _strict("dynatemp_range", FLOAT, 0.0, "how far temperature may move; 0: off", 0, 100),
    _strict("dynatemp_exponent", FLOAT, 1.0, "how that follows the entropy", 0, 100),
)
"""llama.cpp's samplers that Ollama lacks, with its names and defaults."""

_ROWS = (
    _Row("num_ctx", INTEGER, None, "context length; 0: as memory allows", "tokens", 0, None, True),
    _Row("num_predict", INTEGER, -1, "longest answer; -1: as the context allows", "tokens", -2),
    _Row("temperature", FLOAT, 0.8, "how freely to draw; 0 takes the likeliest", minimum=0),
    _Row("top_k", INTEGER, 40, "draw from so many likeliest tokens; 0: from all", "tokens", 0),
    _Row("top_p", FLOAT, 0.9, "draw from the likeliest that sum up to this", "", 0, 1),
    _Row("min_p", FLOAT, 0.0, "drop what is below this share of the likeliest", "", 0, 1),
    _Row("typical_p", FLOAT, 1.0, "draw from tokens of typical surprise; 1: off", "", 0, 1),
    _Row("seed", INTEGER, -1, "random seed; -1: a new one each time"),
    _Row("reproducible", BOOLEAN, False, "the same bits each time, but slower; olm's own"),
    _Row("stop", STRINGS, (), "text that ends the answer; each adds to a list"),
    _Row("repeat_penalty", FLOAT, 1.0, "hold repeated tokens back; 1: off", minimum=0),
    _Row("repeat_last_n", INTEGER, 64, "how far back that looks; -1: everywhere", "tokens", -1),
    _Row("presence_penalty", FLOAT, 0.0, "hold back what occurred; 0: off", "", -2, 2),
    _Row("frequency_penalty", FLOAT, 0.0, "the same for each time it occurred", "", -2, 2),
    *_SAMPLERS,
    _Row("num_keep", INTEGER, 4, "kept in front when the context overflows", "tokens", -1),
    _Row("num_batch", INTEGER, 512, "prompt tokens computed at once", "tokens", 1, None, True),
    _Row("num_gpu", INTEGER, -1, "layers on the GPU; -1: what fits", "layers", -1, None, True),
    _Row("require_gpu", BOOLEAN, False, "all layers on cards, or none", is_load_time=True),
    _Row("min_ctx", INTEGER, 0, "least context that will do; 0: all", "tokens", 0, None, True),
    _Row("main_gpu", INTEGER, None, "the GPU that holds what is not split", "", 0, None, True),
    _Row("num_thread", INTEGER, 0, "CPU threads; 0: chosen", "threads", 0, None, True),
    _Row("use_mmap", BOOLEAN, None, "map the file instead of reading it", is_load_time=True),
    _strict("adapter_scale", FLOAT, 1.0, "strength of adapters; 0: without", -16, 16),
    _Row("draft_num_predict", INTEGER, 4, "most tokens guessed at once; 0: none", "tokens", 0),
)

TABLE: Mapping[str, ParameterInfo] = MappingProxyType({row.name: row for row in _ROWS})
"""Every parameter by name, the most used ones first."""

DEPRECATED = frozenset(
    {"f16_kv", "logits_all", "low_vram", "penalize_newline", "use_mlock", "vocab_only"}
)
"""Names that are accepted with a warning and dropped."""

_OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "context_length": "num_ctx",
        "ctx_size": "num_ctx",
        "n_ctx": "num_ctx",
        "max_tokens": "num_predict",
        "max_new_tokens": "num_predict",
        "n_predict": "num_predict",
        "n_gpu_layers": "num_gpu",
        "gpu_layers": "num_gpu",
        "threads": "num_thread",
        "n_threads": "num_thread",
        "batch_size": "num_batch",
        "n_batch": "num_batch",
        "repetition_penalty": "repeat_penalty",
        "typ_p": "typical_p",
        "typical": "typical_p",
        "temp": "temperature",
        "adaptive_p": "adaptive_target",
        "dynatemp": "dynatemp_range",
        "mirostat_ent": "mirostat_tau",
        "mirostat_lr": "mirostat_eta",
    }
)
"""What other programs call the same thing."""

_SAID = {"yes": "true", "y": "true", "on": "true", "no": "false", "n": "false", "off": "false"}
_TAKES = {
    INTEGER: "an integer",
    FLOAT: "a number",
    BOOLEAN: "true or false",
    STRINGS: "text",
}
_INT64 = range(-(2**63), 2**63)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_PRINTED_BY_OLLAMA = re.compile(r"-?[0-9](?:\.[0-9]+)?e\+[0-9]{2}")
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_DECIMAL = re.compile(rf"[+-]?(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})(?:[eE][+-]?[0-9]+)?")
_HEXADECIMAL = re.compile(
    r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]{1,4}"
)
_LONGEST_NUMBER = 400
"""Characters; a longer text is no number that anybody wrote."""


def info(name: str) -> ParameterInfo:
    """The row of parameter `name`; names are case-sensitive.

    Raises:
        InvalidParameter: there is none; the suggestion is the nearest one.
    """
    if row := TABLE.get(name):
        return row
    raise unknown_parameter(name)


def unknown_parameter(name: str) -> InvalidParameter:
    """The error that `name` is no parameter, with what it is called here, or the nearest name."""
    return InvalidParameter(
        f"unknown parameter {quoted(name)}",
        name=name,
        code=Code.UNKNOWN_PARAMETER,
        expected=TABLE,
        suggestion=_OTHER_NAMES.get(name.lower()) or nearest(name, TABLE),
    )


def parse_value(name: str, text: str, *, compatible: bool = False) -> ParameterValue:
    """The value that `text` gives parameter `name`: int, float, bool, or one string of a list.

    Numbers and booleans are what Go's strconv reads, with 32 bits for a float; characters that
    cannot be printed count for nothing in them. Integers in the form that Ollama prints from
    1000000 on (`1.048576e+06`) are read too, unless `compatible`: Ollama itself refuses them.

    Raises:
        InvalidParameter: no such parameter, no value of its type, or one that it never takes.
    """
    row = info(name)
    if row.type is STRINGS:
        return text
    value = _read(row, text, compatible=compatible)
    if value is None:
        raise _mistyped(row, text)
    return _within(row, value)


def check_value(name: str, value: object) -> ParameterValue:
    """`value` as parameter `name` holds it: floats in 32 bits, whole floats for an integer as int.

    Raises:
        InvalidParameter: no such parameter, a value of another type, or one that it never takes.
    """
    row = info(name)
    checked: ParameterValue | None = None
    match value:
        case str() if row.type is STRINGS:
            checked = value
        case bool():
            checked = value if row.type is BOOLEAN else None
        case int() | float() if row.type is INTEGER:
            checked = _integer(value)
        case int() | float() if row.type is FLOAT:
            checked = _single(value)
    if checked is None:
        raise _mistyped(row, value)
    return _within(row, checked)


def format_value(value: ParameterValue) -> str:
    """`value` as text that `parse_value` reads back.

    Integers and whole floats print as integers, never as `1e+06`; other floats with the fewest
    digits that give the same 32-bit number.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < 1e16:
            return str(int(value))
        case float():
            return repr(_single(value) or value)
    return str(value)


def is_in_range(name: str, value: ParameterValue) -> bool:
    """Whether `value` means something, as far as the table tells."""
    row = TABLE[name]
    if isinstance(value, str):
        return True
    return (row.minimum is None or value >= row.minimum) and (
        row.maximum is None or value <= row.maximum
    )


def _within(row: ParameterInfo, value: ParameterValue) -> ParameterValue:
    """`value`. Raises: InvalidParameter, where the row is strict and it lies outside."""
    if row.is_strict and not is_in_range(row.name, value):
        raise InvalidParameter(
            f"{row.name} is {row.range}, not {format_value(value)}",
            name=row.name,
            value=value,
            code=Code.OUT_OF_RANGE,
            expected=(row.range,),
        )
    return value


def _read(row: ParameterInfo, text: str, *, compatible: bool) -> ParameterValue | None:
    """The number or boolean that `text` says; None when it says none of the row's type."""
    visible = "".join(c for c in text[: 2 * _LONGEST_NUMBER] if c.isprintable())
    if len(visible) > _LONGEST_NUMBER:
        return None
    if row.type is BOOLEAN:
        return parse_boolean(visible)
    if row.type is FLOAT:
        return _parse_float(visible)
    if _INTEGER.fullmatch(visible):
        return _integer(int(visible))
    if not compatible and _PRINTED_BY_OLLAMA.fullmatch(visible):
        return _integer(float(visible))
    return None


def _parse_float(text: str) -> float | None:
    if _DECIMAL.fullmatch(text):
        return _single(float(text))
    if _HEXADECIMAL.fullmatch(text):
        try:
            return _single(float.fromhex(text))
        except OverflowError:
            return None
    return None


def _integer(value: float) -> int | None:
    if value % 1 != 0:
        return None
    return int(value) if int(value) in _INT64 else None


def _single(value: float) -> float | None:
    """The 32-bit float nearest to `value`, as the double with its shortest digits."""
    try:
        packed = struct.pack("f", float(value))
    except OverflowError:
        return None
    single: float = struct.unpack("f", packed)[0]
    if not math.isfinite(single):
        return None
    for digits in range(1, 9):
        short = float(f"{single:.{digits}g}")
        if struct.pack("f", short) == packed:
            return short
    return float(f"{single:.9g}")


def _mistyped(row: ParameterInfo, value: object) -> InvalidParameter:
    takes = _TAKES[row.type]
    suggestion = hint = None
    if isinstance(value, int | float):
        given = quoted(str(value)) if abs(value) < 2**64 else "so large a number"
    elif not isinstance(value, str):
        given = type(value).__name__
    elif value == "":
        given = "nothing"
    else:
        given = quoted(value)
        suggestion = _correction(row, value)
        if "#" in value:
            hint = "a comment needs a line of its own"
    return InvalidParameter(
        f"{row.name} takes {takes}, not {given}",
        name=row.name,
        value=value,
        expected=("true", "false") if row.type is BOOLEAN else (takes,),
        suggestion=suggestion,
        hint=hint,
    )


def _correction(row: ParameterInfo, text: str) -> str | None:
    """What was probably meant by a text of the wrong type."""
    text = text.split("#")[0].strip(" \t\"'")
    candidates = {
        INTEGER: (text, text.replace(",", "").replace("_", ""), text.split(".")[0]),
        FLOAT: (text, text.replace(",", ".")),
        BOOLEAN: (_SAID.get(text.lower(), ""),),
    }
    for candidate in candidates.get(row.type, ()):
        value = _read(row, candidate, compatible=True)
        if value is not None:
            return format_value(value)
    return None
