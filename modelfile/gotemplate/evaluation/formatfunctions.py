"""The functions of templates that command lines take in `--format`: Go's, and Docker's few.

Source: https://docs.docker.com/engine/cli/formatting/.
"""

import json as jsonlib
from collections.abc import Mapping
from types import MappingProxyType

from olmkit.modelfile.gotemplate.evaluation.functions import GO_FUNCTIONS, Function
from olmkit.modelfile.gotemplate.evaluation.values import NULL
from olmkit.modelfile.gotemplate.limits import Execution
from olmkit.modelfile.gotemplate.templateerrors import FunctionFailed


def json(execution: Execution, value: object) -> str:
    """`json`: the value on one line, nothing escaped that JSON allows."""
    try:
        text = jsonlib.dumps(None if value is NULL else value, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise FunctionFailed(f"json: {error}") from None
    execution.allocate(len(text))
    return text


def _plain(value: object) -> object:
    if value is NULL:
        return None
    raise TypeError(f"templates cannot use a Python {type(value).__name__}")


def split(execution: Execution, text: str, separator: str) -> list[object]:
    """`split TEXT SEPARATOR`: an empty separator splits characters."""
    execution.allocate(len(text))
    return list(text.split(separator) if separator else text)


def join(execution: Execution, parts: object, separator: object) -> str:
    """`join LIST SEPARATOR`: of texts."""
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise FunctionFailed("join takes a list of strings")
    if not isinstance(separator, str):
        raise FunctionFailed("join takes a string between the elements")
    execution.allocate(sum(map(len, parts)) + len(separator) * len(parts))
    return separator.join(parts)


def title(execution: Execution, text: str) -> str:
    """`title`: each word begins with a capital, the rest stays."""
    execution.allocate(len(text))
    before = " "
    shown = []
    for character in text:
        begins = not (before.isalnum() or before in "_'")
        shown.append(character.upper() if begins else character)
        before = character
    return "".join(shown)


def pad(execution: Execution, text: object, before: object, after: object) -> str:
    """`pad TEXT BEFORE AFTER`: so many blanks around it; an empty text stays empty."""
    if not isinstance(text, str) or not isinstance(before, int) or not isinstance(after, int):
        raise FunctionFailed("pad takes a string and two numbers")
    if min(before, after) < 0:
        raise FunctionFailed("pad takes no negative numbers")
    if not text:
        return text
    execution.allocate(before + len(text) + after)
    return " " * before + text + " " * after


def truncate(_: Execution, text: object, most: object) -> str:
    """`truncate TEXT N`: its first characters."""
    if not isinstance(text, str) or not isinstance(most, int):
        raise FunctionFailed("truncate takes a string and a number")
    return text[: max(most, 0)]


def _first(_: Execution, text: object, *__: object) -> object:
    return text


FORMAT_FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        **GO_FUNCTIONS,
        "json": Function(carry_out=json),
        "split": Function(carry_out=split, required=2, most=2, strings=2),
        "join": Function(carry_out=join, required=2, most=2),
        "title": Function(carry_out=title, strings=1),
        "lower": Function(carry_out=lambda _, text: text.lower(), strings=1),
        "upper": Function(carry_out=lambda _, text: text.upper(), strings=1),
        "pad": Function(carry_out=pad, required=3, most=3),
        "truncate": Function(carry_out=truncate, required=2, most=2),
    }
)
TITLE_FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        **FORMAT_FUNCTIONS,
        "json": Function(carry_out=_first),
        "split": Function(carry_out=_first, required=2, most=2),
        "join": Function(carry_out=_first, required=2, most=2),
        "title": Function(carry_out=_first),
        "lower": Function(carry_out=_first),
        "upper": Function(carry_out=_first),
        "truncate": Function(carry_out=_first, required=2, most=2),
    }
)
"""The same where a template is filled with titles of columns, which stay as they are."""
