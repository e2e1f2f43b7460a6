"""Constraints as grammars of llguidance: JSON, JSON schemas, regular expressions, Lark and GBNF.

Source: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

import json
import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from olmkit.engine.runner.bindings import Model
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.protocol import Constraint, ConstraintKind, FailureKind

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions  # named nowhere else

MAX_GRAMMAR_BYTES: Final = 128 * 1024
"""Of a schema's or grammar's text: far more than people write."""
MAX_MULTIPLE: Final = 20_000
"""Least common multiple of all `multipleOf` of a schema, numerators and denominators."""

_ANY_OBJECT: Final = '{"type":"object"}'
LAYOUT: Final["JsonCompileOptions"] = {
    "item_separator": ",",
    "key_separator": ":",
    "whitespace_flexible": True,
    "whitespace_pattern": r"\x20?",
    "lenient": False,
}
"""At most one blank between two tokens of JSON: where line breaks are free, small models write
nothing else. All of it is said here, for a schema could change the defaults (`x-guidance`)."""

_MULTIPLE: Final = re.compile(r'"multipleOf"\s*:\s*([-+.\deE]{1,40})')
_WHAT: Final = {
    ConstraintKind.JSON: "JSON schema",
    ConstraintKind.SCHEMA: "JSON schema",
    ConstraintKind.REGEX: "regular expression",
    ConstraintKind.LARK: "Lark grammar",
    ConstraintKind.GBNF: "GBNF grammar",
}


def grammar_of(constraint: Constraint, model: Model) -> str:
    """The grammar of a constraint, as llguidance takes it.

    Raises:
        RequestFailed: BAD_REQUEST, with llguidance's reason.
    """
    from llguidance import LLMatcher
    from llguidance.gbnf_to_lark import gbnf_to_lark

    try:
        match constraint.kind:
            case ConstraintKind.JSON:
                return LLMatcher.grammar_from_json_schema(_ANY_OBJECT, overrides=LAYOUT)
            case ConstraintKind.SCHEMA:
                return LLMatcher.grammar_from_json_schema(constraint.text, overrides=LAYOUT)
            case ConstraintKind.REGEX:
                return LLMatcher.grammar_from_regex(constraint.text)
            case ConstraintKind.GBNF:
                return LLMatcher.grammar_from_lark(gbnf_to_lark(constraint.text))
            case ConstraintKind.LARK:
                rules = "".join(_rules(model, *mark) for mark in constraint.marks.items())
                return LLMatcher.grammar_from_lark(constraint.text + "\n" + rules)
    except RequestFailed:
        raise
    except Exception as error:  # what the converter of GBNF raises is not said anywhere
        raise invalid(constraint.kind, " ".join(str(error).split())[:400]) from error


def check_constraint(constraint: Constraint) -> None:
    """Refuses what cannot be one, and what llguidance's own limits do not stop.

    A `multipleOf` becomes an automaton with a state a remainder, several together one with a
    state a remainder of their least common multiple: a million take seconds and 300 MB.

    Raises:
        RequestFailed: BAD_REQUEST.
    """
    kind, text = constraint.kind, constraint.text
    size_bytes = len(text.encode())
    if size_bytes > MAX_GRAMMAR_BYTES:
        raise invalid(kind, f"it has {size_bytes} bytes, at most {MAX_GRAMMAR_BYTES} are taken")
    if kind is ConstraintKind.SCHEMA:
        multiples = _multiples_in_schema(text)
    else:
        try:
            multiples = [part for found in _MULTIPLE.findall(text) for part in _parts(found)]
        except (ValueError, ArithmeticError) as error:
            raise invalid(kind, "it has a multipleOf that is no number") from error
    if math.lcm(*multiples) > MAX_MULTIPLE:
        raise invalid(kind, f"multipleOf is taken up to {MAX_MULTIPLE}, all of them together")


def _multiples_in_schema(text: str) -> list[int]:
    multiples: list[int] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, value in pairs:
            if key == "multipleOf" and isinstance(value, int | float) and value:
                multiples.extend(_parts(str(value)))
        return dict(pairs)

    try:
        schema = json.loads(text, object_pairs_hook=collect)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise invalid(ConstraintKind.SCHEMA, "it cannot be read") from error
    if not isinstance(schema, dict):
        raise invalid(ConstraintKind.SCHEMA, "it is no object")
    return multiples


def _parts(number: str) -> Iterable[int]:
    """Numerator and denominator of a number. Raises: ArithmeticError for what is none."""
    return [abs(part) for part in Decimal(number).as_integer_ratio() if part]


def _rules(model: Model, name: str, text: str) -> str:
    """Two rules for a text that the model writes, perhaps as control tokens.

    `name` is the text; `until_name` is anything up to and with it.
    """
    pieces = _pieces(model, text)
    rest = " ".join(pieces)
    rule = f"{name}: {rest}\n"
    if len(pieces) == 1 and pieces[0].startswith('"'):
        return f"{rule}until_{name}[suffix={pieces[0]}]: /(?s:.*)/\n"
    if pieces[0].startswith("<"):
        anything = f"ANY_{name.upper()}"
        return f"{rule}until_{name}: {anything} {rest}\n{anything}: /(?s:.*)/\n"
    rest = " ".join(pieces[1:])
    return f"{rule}until_{name}: begin_{name} {rest}\nbegin_{name}[suffix={pieces[0]}]: /(?s:.*)/\n"


def _pieces(model: Model, text: str) -> list[str]:
    """The text as llguidance's literals and ids of control tokens."""
    pieces: list[str] = []
    literal = b""
    for token in model.tokenize(text, add_special=False, parse_special=True):
        if model.is_control(token) or model.is_added(token):
            if literal:
                pieces.append(json.dumps(literal.decode(), ensure_ascii=False))
                literal = b""
            pieces.append(f"<[{token}]>")
        else:
            literal += model.piece(token)
    if literal:
        pieces.append(json.dumps(literal.decode(), ensure_ascii=False))
    return pieces


def invalid(kind: ConstraintKind, reason: str) -> RequestFailed:
    """The failure of a constraint that cannot be kept."""
    return RequestFailed(FailureKind.BAD_REQUEST, _refusal(kind) + reason)


def refused(kind: ConstraintKind, text: str) -> RequestFailed:
    """The failure that a process of its own told of: `text` is what `invalid` says, or a reason."""
    return invalid(kind, text.removeprefix(_refusal(kind)))


def _refusal(kind: ConstraintKind) -> str:
    return f"invalid {_WHAT[kind]} in format: "
