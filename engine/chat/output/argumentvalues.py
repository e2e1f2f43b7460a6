"""Values of arguments that a model writes as bare text, given the type that the schema names.

Some syntaxes do not tell a string from other values (`<parameter=count>3</parameter>`): only the
tool's schema knows which is meant.
"""

import ast
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from olmkit.engine.chat.output.cursor import Malformed
from olmkit.engine.chat.output.jsonpieces import decode_json, encode_json

_MAX_REFERENCES: Final = 16
_JSON_NAMES: Final[Mapping[str, bool | None]] = {"true": True, "false": False, "null": None}
_TYPES: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
    type(None): "null",
}


def types_of(schema: Any, root: Mapping[str, Any]) -> frozenset[str]:
    """The JSON types that a schema allows; empty where it names none."""
    return frozenset(_types(schema, root, _MAX_REFERENCES))


def _types(schema: Any, root: Mapping[str, Any], steps: int) -> Iterator[str]:
    if not isinstance(schema, Mapping) or steps == 0:
        return
    given = schema.get("type")
    if isinstance(given, str):
        yield given
    elif isinstance(given, list):
        yield from (name for name in given if isinstance(name, str))
    elif "enum" in schema and isinstance(schema["enum"], list):
        yield from (_TYPES[type(value)] for value in schema["enum"] if type(value) in _TYPES)
    elif "const" in schema and type(schema["const"]) in _TYPES:
        yield _TYPES[type(schema["const"])]
    elif isinstance(schema.get("properties"), Mapping):
        yield "object"
    if schema.get("nullable") is True:
        yield "null"
    for key in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(key) or () if isinstance(schema.get(key), list) else ():
            yield from _types(part, root, steps - 1)
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        target: Any = root
        for name in reference[2:].split("/"):
            target = target.get(name.replace("~1", "/").replace("~0", "~"))
            if not isinstance(target, Mapping):
                return
        yield from _types(target, root, steps - 1)


def json_of(raw: str, types: frozenset[str]) -> str:
    """The JSON text of a value that the model wrote as `raw`, one of `types` (empty: any).

    What fits no type stays a string: the client sees what the model wrote.
    """
    if types == {"string"}:
        return encode_json(raw)
    text = raw.strip()
    for value in _readings(text):
        if not types or _fits(value, types):
            return _exact(text, value)
    return encode_json(raw)


def _exact(text: str, value: Any) -> str:
    """The text itself where it is JSON: no digit of a number is lost."""
    try:
        decode_json(text)
    except Malformed:
        return encode_json(value)
    return text


def _readings(text: str) -> Iterator[Any]:
    """What a text may mean: JSON, or Python's spelling of it."""
    try:
        yield decode_json(text)
    except Malformed:
        pass
    else:
        return
    if text.lower() in _JSON_NAMES:
        yield _JSON_NAMES[text.lower()]
    elif text == "None":
        yield None
    elif text[:1] in ("{", "[", "("):
        value = python_value(text)
        if value is not None:
            yield value


def _fits(value: Any, types: frozenset[str]) -> bool:
    name = _TYPES.get(type(value))
    if name == "integer":
        return bool(types & {"integer", "number"})
    if name == "number":
        return "number" in types or ("integer" in types and value == int(value))
    return name in types


def python_value(text: str) -> Any:
    """The value of a Python literal, JSON's names allowed too; None where it is none.

    `None` itself is to be looked for before.
    """
    try:
        tree = _JsonNames().visit(ast.parse(text, mode="eval"))
        value = ast.literal_eval(tree)
        json.dumps(value, allow_nan=False)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return list(value) if isinstance(value, tuple) else value


class _JsonNames(ast.NodeTransformer):
    """`true`, `false` and `null` for Python's own names."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id not in _JSON_NAMES:
            return node
        return ast.copy_location(ast.Constant(_JSON_NAMES[node.id]), node)
