"""Whether a value is what a JSON schema asks for: the first thing that is wrong with it.

The engine holds answers to schemas while they are made, but for keywords that it cannot keep
(docs/compatibility.md); this looks at the finished answer. Checked are the keywords of
https://json-schema.org/draft/2020-12/json-schema-validation and of its applicators that need no
other document, `$ref` into the schema itself included; `format` is an annotation, as there.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

MAX_DEPTH: Final = 128

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "number": (int, float),
    "integer": (int, float),
}


def find_violation(value: object, schema: object) -> str | None:
    """One phrase on the first violation, such as `/age: 3.5 is no integer`; None: it is valid."""
    return next(_violations(value, schema, schema, "", 0), None)


def _violations(value: Any, schema: Any, root: Any, at: str, depth: int) -> Iterator[str]:
    where = f"{at or '/'}: "
    if depth > MAX_DEPTH:
        yield f"{where}nested too deeply to be checked"
        return
    if schema is False:
        yield f"{where}nothing is allowed here"
    if not isinstance(schema, dict):
        return

    def holds(other: Any) -> bool:
        return next(_violations(value, other, root, at, depth + 1), None) is None

    if "$ref" in schema:
        yield from _violations(value, _resolved(schema["$ref"], root), root, at, depth + 1)
    if "type" in schema and not _is_of_type(value, schema["type"]):
        yield f"{where}{_shown(value)} is no {_listed(schema['type'])}"
    if "enum" in schema and not any(_equal(value, one) for one in schema["enum"]):
        yield f"{where}{_shown(value)} is none of the values of enum"
    if "const" in schema and not _equal(value, schema["const"]):
        yield f"{where}{_shown(value)} is not {_shown(schema['const'])}"
    for part in schema.get("allOf", ()):
        yield from _violations(value, part, root, at, depth + 1)
    if "anyOf" in schema and not any(map(holds, schema["anyOf"])):
        yield f"{where}{_shown(value)} fits none of anyOf"
    if "oneOf" in schema and sum(map(holds, schema["oneOf"])) != 1:
        yield f"{where}{_shown(value)} does not fit exactly one of oneOf"
    if "not" in schema and holds(schema["not"]):
        yield f"{where}{_shown(value)} is what not excludes"
    if "if" in schema:
        branch = schema.get("then" if holds(schema["if"]) else "else", True)
        yield from _violations(value, branch, root, at, depth + 1)
    if isinstance(value, str):
        yield from _of_string(value, schema, where)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _of_number(value, schema, where)
    elif isinstance(value, list):
        yield from _of_array(value, schema, root, at, depth)
    elif isinstance(value, dict):
        yield from _of_object(value, schema, root, at, depth)


def _of_string(value: str, schema: dict[str, Any], where: str) -> Iterator[str]:
    if len(value) < schema.get("minLength", 0):
        yield f"{where}{_shown(value)} is shorter than {schema['minLength']}"
    if len(value) > schema.get("maxLength", len(value)):
        yield f"{where}{_shown(value)} is longer than {schema['maxLength']}"
    if "pattern" in schema:
        try:
            is_matched = re.search(schema["pattern"], value) is not None
        except re.error:
            yield f"{where}the pattern {_shown(schema['pattern'])} cannot be checked"
            return
        if not is_matched:
            yield f"{where}{_shown(value)} does not match {_shown(schema['pattern'])}"


def _of_number(value: float, schema: dict[str, Any], where: str) -> Iterator[str]:
    if value < schema.get("minimum", value):
        yield f"{where}{value} is less than {schema['minimum']}"
    if value > schema.get("maximum", value):
        yield f"{where}{value} is more than {schema['maximum']}"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield f"{where}{value} is not more than {schema['exclusiveMinimum']}"
    if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
        yield f"{where}{value} is not less than {schema['exclusiveMaximum']}"
    step = schema.get("multipleOf")
    if step and abs(value / step - round(value / step)) > 1e-9:
        yield f"{where}{value} is no multiple of {step}"


def _of_array(
    value: list[Any], schema: dict[str, Any], root: Any, at: str, depth: int
) -> Iterator[str]:
    where = f"{at or '/'}: "
    if len(value) < schema.get("minItems", 0):
        yield f"{where}it has fewer than {schema['minItems']} items"
    if len(value) > schema.get("maxItems", len(value)):
        yield f"{where}it has more than {schema['maxItems']} items"
    if schema.get("uniqueItems") is True and any(
        _equal(one, other) for i, one in enumerate(value) for other in value[:i]
    ):
        yield f"{where}its items are not unique"
    first = schema.get("prefixItems", [])
    for index, item in enumerate(value):
        inner = first[index] if index < len(first) else schema.get("items", True)
        yield from _violations(item, inner, root, f"{at}/{index}", depth + 1)
    if "contains" in schema:
        fitting = sum(
            next(_violations(item, schema["contains"], root, at, depth + 1), None) is None
            for item in value
        )
        least, most = schema.get("minContains", 1), schema.get("maxContains", len(value))
        if not least <= fitting <= most:
            yield f"{where}{fitting} of its items are what contains asks for"


def _of_object(
    value: dict[str, Any], schema: dict[str, Any], root: Any, at: str, depth: int
) -> Iterator[str]:
    where = f"{at or '/'}: "
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{where}{_shown(name)} is missing"
    for name, others in schema.get("dependentRequired", {}).items():
        if name in value:
            yield from (f"{where}{_shown(o)} is missing" for o in others if o not in value)
    if len(value) < schema.get("minProperties", 0):
        yield f"{where}it has fewer than {schema['minProperties']} members"
    if len(value) > schema.get("maxProperties", len(value)):
        yield f"{where}it has more than {schema['maxProperties']} members"
    named, patterned = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, member in value.items():
        inner = [named[name]] if name in named else []
        inner += [one for pattern, one in patterned.items() if re.search(pattern, name)]
        for one in inner or [schema.get("additionalProperties", True)]:
            yield from _violations(member, one, root, f"{at}/{name}", depth + 1)


def _resolved(reference: Any, root: Any) -> Any:
    """The schema that a `$ref` names; one that allows nothing where there is none."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return False
    found = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return False
    return found


def _is_of_type(value: Any, wanted: Any) -> bool:
    for name in wanted if isinstance(wanted, list) else [wanted]:
        if isinstance(value, bool) and name != "boolean":
            continue
        if isinstance(value, _TYPES.get(name, ())):
            if name == "integer" and isinstance(value, float) and not value.is_integer():
                continue
            return True
    return False


def _equal(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    return bool(one == other)


def _listed(wanted: Any) -> str:
    return " or ".join(map(str, wanted)) if isinstance(wanted, list) else str(wanted)


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 60 else f"{text[:59]}…"
