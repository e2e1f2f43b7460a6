"""Whether a value is what a JSON schema describes, for the keywords that the tests use."""

import re
from typing import Any

KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
KNOWN = {
    "type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems",
    "enum", "const", "minimum", "maximum", "maxLength", "minLength", "pattern", "anyOf",
    "$ref", "$defs", "title",
}  # fmt: skip


def problems(value: Any, schema: Any, root: Any = None, at: str = "$") -> list[str]:
    """What is wrong with the value; an unknown keyword fails the test that uses it."""
    root = schema if root is None else root
    if schema is True:
        return []
    assert not set(schema) - KNOWN, set(schema) - KNOWN
    if "$ref" in schema:
        return problems(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)
    if "anyOf" in schema:
        tries = [problems(value, one, root, at) for one in schema["anyOf"]]
        return [] if not all(tries) else tries[0]
    found = _kind(value, schema, at)
    if found:
        return found
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: {value!r} is not in the enum")
    if "const" in schema and value != schema["const"]:
        found.append(f"{at}: {value!r} is not the constant")
    if isinstance(value, dict):
        found += _object(value, schema, root, at)
    elif isinstance(value, list):
        found += _array(value, schema, root, at)
    elif isinstance(value, str):
        found += _string(value, schema, at)
    else:
        found += _number(value, schema, at)
    return found


def _kind(value: Any, schema: Any, at: str) -> list[str]:
    given = schema.get("type")
    kinds = [given] if isinstance(given, str) else given or []
    if not kinds:
        return []
    is_bool = isinstance(value, bool)
    fits = any(
        isinstance(value, KINDS[kind]) and (not is_bool or kind == "boolean") for kind in kinds
    )
    return [] if fits else [f"{at}: {value!r} is no {given}"]


def _number(value: Any, schema: Any, at: str) -> list[str]:
    if not {"minimum", "maximum"} & set(schema) or not isinstance(value, int | float):
        return []
    fits = schema.get("minimum", value) <= value <= schema.get("maximum", value)
    return [] if fits else [f"{at}: {value} is out of range"]


def _object(value: dict[str, Any], schema: Any, root: Any, at: str) -> list[str]:
    known = schema.get("properties", {})
    found = [f"{at}: lacks {name}" for name in schema.get("required", []) if name not in value]
    rest = schema.get("additionalProperties", True)
    for name, member in value.items():
        if name in known:
            found += problems(member, known[name], root, f"{at}.{name}")
        elif rest is False:
            found.append(f"{at}: has {name}")
        else:
            found += problems(member, rest, root, f"{at}.{name}")
    return found


def _array(value: list[Any], schema: Any, root: Any, at: str) -> list[str]:
    found = []
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        found.append(f"{at}: {len(value)} items")
    for index, item in enumerate(value):
        found += problems(item, schema.get("items", True), root, f"{at}[{index}]")
    return found


def _string(value: str, schema: Any, at: str) -> list[str]:
    found = []
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        found.append(f"{at}: {len(value)} characters")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{at}: {value!r} does not match")
    return found
