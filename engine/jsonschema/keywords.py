"""The keywords of JSON Schema by what is done with them, and what is seen of one schema alone."""

import json
from collections.abc import Mapping
from typing import Any, Final

FORMATS: Final = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
)
"""Those that llguidance keeps."""
KEPT: Final = frozenset(
    ("type", "const", "enum", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum",
     "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "minProperties", "maxProperties")
)  # fmt: skip
MOST: Final = {
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), 1e16),
    **dict.fromkeys(("minLength", "maxLength"), 1e9),
}
"""Magnitudes over which llguidance makes no automaton of a bound; real ones are smaller."""
HANDLED: Final = frozenset(
    ("$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "properties", "required",
     "patternProperties", "additionalProperties", "propertyNames", "items", "prefixItems",
     "additionalItems", "pattern", "format", "nullable", "unevaluatedProperties")
)  # fmt: skip
ANNOTATIONS: Final = frozenset(
    ("$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$comment",
     "$vocabulary", "$defs", "definitions", "title", "description", "default", "examples",
     "example", "deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType",
     "contentSchema", "discriminator", "externalDocs", "xml")
)  # fmt: skip
REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
IN_PLACE: Final = (*REFERENCES, "allOf", "anyOf", "oneOf")
OF_OBJECTS: Final = ("properties", "required", "patternProperties", "additionalProperties")


def escaped(name: str) -> str:
    """A name as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def constants(node: Mapping[str, Any]) -> dict[str, list[str]]:
    """The required members that have few values, as JSON."""
    members = node.get("properties")
    if not isinstance(members, Mapping):
        return {}
    found = {}
    for name in node.get("required") or []:
        one = members.get(name) if isinstance(name, str) else None
        if isinstance(one, Mapping):
            values = one.get("enum", [one["const"]] if "const" in one else None)
            if isinstance(values, list):
                found[name] = [json.dumps(value, sort_keys=True) for value in values]
    return found


def is_long(node: Mapping[str, Any], key: str) -> bool:
    """Whether a list of schemas has several."""
    return isinstance(node.get(key), list) and len(node[key]) > 1


def is_silent(node: Mapping[str, Any]) -> bool:
    """Whether a schema does not say itself which other members an object may have."""
    if node.get("unevaluatedProperties", False) is not False:
        return False
    return "additionalProperties" not in node and "patternProperties" not in node


def may_be_text(node: Mapping[str, Any]) -> bool:
    """Whether a format says anything: `int64` of an integer is a note to programmers."""
    kinds = node.get("type", "string")
    return "string" in ([kinds] if isinstance(kinds, str) else kinds)
