"""A JSON schema as clients write it, made one that the grammar engine keeps.

Every answer to the rewritten schema has the shape that the given one asks for. Three things are
done on the way:

* What can only narrow and cannot be kept (`uniqueItems`, `not`, unknown formats) is left out, and
  said in `Rewritten.ignored`. `oneOf` becomes `anyOf`.
* Objects that name their properties are closed, unless the schema says otherwise: models invent
  members else.
* References are followed, recursive ones to `MOST_RECURSION` levels: below that, what would go on
  is left out, so that an answer ends.

Source: JSON Schema, draft 2020-12 (core and validation), with the spellings of drafts 4 to 2019-09
and of OpenAPI 3.0 that libraries still write.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from olmkit.engine.jsonschema.keywords import (
    ANNOTATIONS,
    FORMATS,
    HANDLED,
    IN_PLACE,
    KEPT,
    MOST,
    OF_OBJECTS,
    REFERENCES,
    escaped,
    is_long,
    is_silent,
    may_be_text,
)
from olmkit.engine.jsonschema.patterns import translate
from olmkit.engine.jsonschema.references import References, invalid

Schema = dict[str, Any] | bool

MOST_RECURSION: Final = 5
"""Levels of a recursive definition, the outermost not counted."""
MOST_NESTING: Final = 100
MOST_NODES: Final = 20_000
"""Of the rewritten schema."""
MOST_SCHEMA_BYTES: Final = 128 * 1024
"""Of the given one: far more than people write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """A schema that can be kept, and what of the given one it does not say."""

    text: str
    """JSON."""
    ignored: tuple[str, ...]
    """`KEYWORD at POINTER`, each once."""


def rewrite(given: Mapping[str, Any]) -> Rewritten:
    """The schema that answers are held to for the one that a request gives.

    Raises:
        InvalidRequest: it is no schema, refers to what is not in it, no finite answer fits it, or
            it is too large.
    """
    try:
        size_bytes = len(json.dumps(given).encode())
        if size_bytes > MOST_SCHEMA_BYTES:
            raise invalid(f"it has {size_bytes} bytes, at most {MOST_SCHEMA_BYTES} are taken")
        return _Rewriter(given).rewritten()
    except RecursionError as error:
        raise invalid("it is nested too deeply") from error


class _Rewriter:
    """One schema on its way; `at` is a JSON pointer into the given one (RFC 6901)."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._references = References(root)
        self._ignored: dict[str, None] = {}
        self._definitions: dict[str, Schema] = {}
        self._names: dict[tuple[str, bool, int], Schema] = {}
        self._nesting = 0
        self._nodes = 0

    def rewritten(self) -> Rewritten:
        schema = self._schema(self._root, "#", is_whole=True, levels=MOST_RECURSION)
        if schema is False:
            raise invalid("no finite text fits it")
        whole = {} if schema is True else dict(schema)
        if self._definitions:
            whole["$defs"] = self._definitions
        text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
        return Rewritten(text=text, ignored=tuple(self._ignored))

    def _ignore(self, what: str, at: str) -> None:
        self._ignored[f"{what} at {at}"] = None

    def _schema(self, node: Any, at: str, *, is_whole: bool, levels: int) -> Schema:
        """The rewritten form of one schema.

        `is_whole`: nothing beside it says more of the same value, so that its objects are closed.
        `levels`: of recursion that are left. False: nothing finite fits.
        """
        if isinstance(node, bool):
            return node
        if not isinstance(node, Mapping):
            raise invalid(f"{at} is no schema")
        self._nodes += 1
        self._nesting += 1
        if self._nodes > MOST_NODES:
            raise invalid(f"it comes to more than {MOST_NODES} parts")
        if self._nesting > MOST_NESTING:
            raise invalid(f"it is nested more than {MOST_NESTING} levels deep")
        try:
            return self._node(node, at, is_whole=is_whole, levels=levels)
        finally:
            self._nesting -= 1

    def _node(self, node: Mapping[str, Any], at: str, *, is_whole: bool, levels: int) -> Schema:
        if "not" in node and (node["not"] is True or node["not"] == {}):
            return False  # zod's `never`
        if node.get("nullable") is True:
            rest = {key: value for key, value in node.items() if key != "nullable"}
            parts = (self._schema(rest, at, is_whole=is_whole, levels=levels), {"type": "null"})
            return _any_of(parts, {})
        places = [key for key in IN_PLACE if key in node]
        is_composite = bool(places) and (
            any(key in node for key in OF_OBJECTS) or len(places) > 1 or is_long(node, "allOf")
        )
        choice = next((key for key in ("anyOf", "oneOf") if key in node), None)
        if is_composite and is_whole and choice:
            return self._distributed(node, choice, at, levels=levels)
        out = self._plain(node, at)
        for part in (
            self._objects(node, at, is_closed=is_whole and not is_composite, levels=levels),
            self._arrays(node, at, levels=levels),
        ):
            if part is None:
                return False
            out |= part
        are_whole = is_whole and not is_composite
        all_of = [
            self._schema(one, where, is_whole=are_whole, levels=levels)
            for one, where in self._members(node, "allOf", at)
        ]
        all_of += [
            self._reference(node[key], at, is_whole=are_whole, levels=levels)
            for key in REFERENCES
            if key in node
        ]
        for key in ("anyOf", "oneOf"):
            if key in node:
                tries = [
                    self._schema(one, where, is_whole=are_whole, levels=levels)
                    for one, where in self._members(node, key, at)
                ]
                if key == "oneOf" and not self._references.is_disjoint(node[key], at):
                    self._ignore("oneOf (taken as anyOf)", at)
                all_of.append(_any_of(tries, {}))
        if False in all_of:
            return False
        if is_composite and is_whole:
            out |= self._closing(node, out, at)
        return _all_of(all_of, out)

    def _plain(self, node: Mapping[str, Any], at: str) -> dict[str, Any]:
        """The keywords without schemas in them."""
        out: dict[str, Any] = {}
        for key, value in node.items():
            if key in MOST and isinstance(value, int | float) and abs(value) > MOST[key]:
                self._ignore(key, at)
            elif key in KEPT:
                out[key] = value
            elif key == "pattern":
                pattern = translate(value) if isinstance(value, str) else None
                if pattern is None:
                    self._ignore("pattern", at)
                else:
                    out[key] = pattern
            elif key == "format":
                if value in FORMATS:
                    out[key] = value
                elif may_be_text(node):
                    self._ignore(f"format {json.dumps(value)[:60]}", at)
            elif _is_unknown(key) and value is not False:  # `uniqueItems: false` says nothing
                self._ignore(key[:60], at)
        for key, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if isinstance(out.get(key), bool) and out.pop(key) and bound in out:  # draft 4
                out[key] = out.pop(bound)
        return out

    # --- objects ----------------------------------------------------------------------------

    def _objects(
        self, node: Mapping[str, Any], at: str, *, is_closed: bool, levels: int
    ) -> dict[str, Any] | None:
        """What is said of an object's members; None when no object can have them."""
        out: dict[str, Any] = {}
        required = [name for name in node.get("required") or [] if isinstance(name, str)]
        for key in ("properties", "patternProperties"):
            if key in node:
                out[key] = {
                    name: self._schema(one, where, is_whole=True, levels=levels)
                    for name, one, where in self._named(node, key, at)
                }
        if "patternProperties" in out:
            out["patternProperties"] = self._patterns(out["patternProperties"], at)
        if "additionalProperties" in node:
            where = f"{at}/additionalProperties"
            out["additionalProperties"] = self._schema(
                node["additionalProperties"], where, is_whole=True, levels=levels
            )
        if "propertyNames" in node:
            names = node["propertyNames"]
            if isinstance(names, Mapping) and names.keys() == {"$ref"}:
                names = self._references.resolved(names, at) or names
            out |= self._property_names(names, out, at)
        members = out.get("properties", {})
        if any(members.get(name) is False for name in required):
            return None
        if required:
            out["required"] = required
        if is_closed and members and is_silent(node):
            out["properties"] = members | {name: True for name in required if name not in members}
            out["additionalProperties"] = False
        if is_closed and (members or required):
            out.setdefault("type", node.get("type", "object"))
        self._count(node, out, at)
        return out

    def _count(self, node: Mapping[str, Any], out: dict[str, Any], at: str) -> None:
        """`minProperties` and `maxProperties` are kept where all named members are required."""
        members, required = out.get("properties", {}), out.get("required", [])
        for key in ("minProperties", "maxProperties"):
            if key in node and set(members) - set(required):
                self._ignore(key, at)
                out[key] = None

    def _patterns(self, given: dict[str, Schema], at: str) -> dict[str, Schema]:
        out: dict[str, Schema] = {}
        for pattern, schema in given.items():
            kept = translate(pattern)
            if kept is None:
                self._ignore("patternProperties", at)
                continue
            out[kept] = schema
        return out

    def _property_names(self, names: Any, out: dict[str, Any], at: str) -> dict[str, Any]:
        """Names of members that are listed, or follow a pattern, where nothing else names them."""
        rest = {} if not isinstance(names, Mapping) else dict(names)
        rest.pop("type", None)
        for key in [key for key in rest if key in ANNOTATIONS]:
            del rest[key]
        value = out.get("additionalProperties", True)
        is_alone = "properties" not in out and "patternProperties" not in out
        if isinstance(names, Mapping) and not rest:
            return {}
        choices = rest.get("enum", [rest["const"]] if "const" in rest else None)
        if isinstance(choices, list) and len(rest) == 1 and "patternProperties" not in out:
            listed = {name: value for name in choices if isinstance(name, str)}
            own = {name: one for name, one in out.get("properties", {}).items() if name in listed}
            return {"properties": listed | own, "additionalProperties": False}
        pattern = rest.get("pattern")
        kept = translate(pattern) if isinstance(pattern, str) and len(rest) == 1 else None
        if kept is not None and is_alone:
            return {"patternProperties": {kept: value}, "additionalProperties": False}
        self._ignore("propertyNames", at)
        return {}

    def _closing(self, node: Mapping[str, Any], out: dict[str, Any], at: str) -> dict[str, Any]:
        """What closes an object of which several schemas name members."""
        found = self._member_names(node, at, frozenset())
        if found is None or not found:
            return {}
        own = out.get("properties", {})
        return {
            "properties": own | {name: True for name in found if name not in own},
            "additionalProperties": False,
        }

    def _member_names(self, node: Any, at: str, seen: frozenset[str]) -> dict[str, None] | None:
        """The members that a schema and those in its place name; None when one leaves it open."""
        if not isinstance(node, Mapping):
            return {}
        if not is_silent(node) and node.get("additionalProperties") is not False:
            return None
        names = dict.fromkeys(node.get("properties") or {})
        names |= dict.fromkeys(name for name in node.get("required") or [] if isinstance(name, str))
        parts = [one for key in IN_PLACE[3:] for one in self._members(node, key, at)]
        for key in REFERENCES:
            if key in node:
                target, where = self._references.target(node[key], at)
                if where not in seen:
                    seen |= {where}
                    parts.append((target, where))
        for part, where in parts:
            found = self._member_names(part, where, seen)
            if found is None:
                return None
            names |= found
        return names

    def _distributed(self, node: Mapping[str, Any], choice: str, at: str, *, levels: int) -> Schema:
        """Each alternative together with what stands beside the choice, as a schema of its own."""
        rest = {key: value for key, value in node.items() if key != choice}
        if choice == "oneOf" and not self._references.is_disjoint(node[choice], at):
            self._ignore("oneOf (taken as anyOf)", at)
        tries = [
            self._schema({"allOf": [rest, one]}, where, is_whole=True, levels=levels)
            for one, where in self._members(node, choice, at)
        ]
        return _any_of(tries, {})

    # --- arrays -----------------------------------------------------------------------------

    def _arrays(self, node: Mapping[str, Any], at: str, *, levels: int) -> dict[str, Any] | None:
        """What is said of an array's items; None when there can be none."""
        key, rest = "prefixItems", "items"
        if isinstance(node.get("items"), list):  # up to draft 2019-09
            key, rest = "items", "additionalItems"
        least = node.get("minItems", 0)
        out: dict[str, Any] = {}
        prefix = [
            self._schema(one, where, is_whole=True, levels=levels)
            for one, where in self._members(node, key, at)
        ]
        if rest in node:
            out["items"] = self._schema(node[rest], f"{at}/{rest}", is_whole=True, levels=levels)
        if False in prefix:
            prefix, out["items"] = prefix[: prefix.index(False)], False
        if prefix:
            out["prefixItems"] = prefix
        if out.get("items") is False and isinstance(least, int) and least > len(prefix):
            return None
        return out

    # --- references -------------------------------------------------------------------------

    def _reference(self, text: Any, at: str, *, is_whole: bool, levels: int) -> Schema:
        target, where = self._references.target(text, at)
        if self._references.is_recursive(where):
            levels -= 1
        if levels < 0:
            self._ignore(f"what is below {MOST_RECURSION} levels of recursion", where)
            return False
        known = (where, is_whole, levels)
        if known not in self._names:
            schema = self._schema(target, where, is_whole=is_whole, levels=levels)
            if isinstance(schema, dict):
                name = f"d{len(self._definitions)}"
                self._definitions[name] = schema
                schema = {"$ref": f"#/$defs/{name}"}
            self._names[known] = schema
        return self._names[known]

    # --- parts of a node --------------------------------------------------------------------

    def _members(self, node: Mapping[str, Any], key: str, at: str) -> list[tuple[Any, str]]:
        given = node.get(key, [])
        if not isinstance(given, list):
            raise invalid(f"{key} at {at} is no list")
        return [(one, f"{at}/{key}/{index}") for index, one in enumerate(given)]

    def _named(self, node: Mapping[str, Any], key: str, at: str) -> list[tuple[str, Any, str]]:
        given = node.get(key, {})
        if not isinstance(given, Mapping):
            raise invalid(f"{key} at {at} is no object")
        return [(name, one, f"{at}/{key}/{escaped(name)}") for name, one in given.items()]


def _is_unknown(key: str) -> bool:
    return key not in HANDLED and key not in ANNOTATIONS and not key.startswith("x-")


def _any_of(alternatives: Iterable[Schema], out: dict[str, Any]) -> Schema:
    """What fits one of the alternatives; those that nothing fits are left out."""
    real = [one for one in alternatives if one is not False]
    if not real:
        return False
    if len(real) == 1 and not out:
        return real[0]
    return {**out, "anyOf": real}


def _all_of(parts: list[Schema], out: dict[str, Any]) -> Schema:
    """What fits all of the parts, and `out`."""
    out = {key: value for key, value in out.items() if value is not None or key == "const"}
    real = [one for one in parts if isinstance(one, dict)]
    if not real:
        return out or True
    if len(real) == 1:
        (only,) = real
        if not out:
            return only
        if not set(only) & set(out):
            return {**out, **only}
    return {**out, "allOf": real}
