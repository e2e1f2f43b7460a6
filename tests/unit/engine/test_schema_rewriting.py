"""What is kept of schemas that people write by hand, and what is said of the rest."""

import json
from typing import Any

import pytest

from olmkit.engine.errors import InvalidRequest
from olmkit.engine.jsonschema.patterns import translate
from olmkit.engine.jsonschema.rewriting import MOST_RECURSION, rewrite
from support.grammar import accepts

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
AB = {"enum": ["a", "b"], "title": "AB", "type": "string"}


def member(name: str, schema: Any, *, is_required: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": {name: schema}}
    return {**found, "required": [name]} if is_required else found


@pytest.mark.parametrize(
    ("schema", "ignored"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems at #"),
        ({"type": "array", "contains": TEXT}, "contains at #"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired at #"),
        ({"type": "object", "propertyNames": {"maxLength": 3}}, "propertyNames at #"),
        ({"not": {"type": "null"}}, "not at #"),
        ({"type": "object", "if": TEXT, "then": TEXT}, "if at #"),
        (member("a", {**TEXT, "format": "path"}), 'format "path" at #/properties/a'),
        ({"type": "string", "pattern": "^(?!a)"}, "pattern at #"),
        ({"oneOf": [TEXT, {"type": "string", "maxLength": 3}]}, "oneOf (taken as anyOf) at #"),
        ({"type": "number", "maximum": 3.4e38}, "maximum at #"),
        ({"type": "string", "minlength": 3}, "minlength at #"),
        (member("a", TEXT, is_required=False) | {"minProperties": 1}, "minProperties at #"),
    ],
)  # fmt: skip
def test_what_only_narrows_is_left_out_and_said(schema: Any, ignored: str) -> None:
    rewritten = rewrite(schema)
    assert ignored in rewritten.ignored
    accepts(rewritten, None)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "uniqueItems": False},
        {"type": "integer", "format": "int64"},
        {"type": "string", "title": "T", "description": "D", "examples": ["x"], "$comment": "c"},
        {"type": "string", "x-order": 3, "contentEncoding": "base64", "deprecated": True},
        {"oneOf": [TEXT, NUMBER]},
        {"type": "object", "propertyNames": TEXT, "additionalProperties": NUMBER},
    ],
)
def test_what_says_nothing_is_not_said_to_be_left_out(schema: Any) -> None:
    rewritten = rewrite(schema)
    assert rewritten.ignored == ()
    accepts(rewritten, None)


def test_objects_are_closed() -> None:
    schema = rewrite(member("a", member("b", TEXT)))
    assert accepts(schema, {"a": {"b": "x"}})
    assert not accepts(schema, {"a": {"b": "x"}, "c": 1})
    assert not accepts(schema, {"a": {"b": "x", "c": 1}})


@pytest.mark.parametrize(
    "says", [{"additionalProperties": True}, {"additionalProperties": NUMBER},
             {"patternProperties": {"^c": NUMBER}}, {"unevaluatedProperties": True}]
)  # fmt: skip
def test_a_schema_that_says_so_keeps_its_objects_open(says: Any) -> None:
    assert accepts(rewrite({**member("a", TEXT), **says}), {"a": "x", "c": 1})


def test_an_object_without_named_members_is_any_object() -> None:
    assert accepts(rewrite({"type": "object"}), {"x": [1]})


def test_required_members_that_nobody_described_may_be_anything() -> None:
    schema = rewrite({"properties": {"a": TEXT}, "required": ["a", "b"]})
    assert accepts(schema, {"a": "x", "b": [1]})
    assert not accepts(schema, {"a": "x"})
    assert not accepts(schema, "no object")


def test_all_parts_of_an_object_count_before_it_is_closed() -> None:
    schema = rewrite(
        {"allOf": [member("a", TEXT), {"$ref": "#/$defs/b"}], "$defs": {"b": member("b", NUMBER)}}
    )
    assert accepts(schema, {"a": "x", "b": 1})
    assert not accepts(schema, {"a": "x"})
    assert not accepts(schema, {"a": "x", "b": 1, "c": 1})


def test_alternatives_beside_members_are_each_closed() -> None:
    schema = rewrite({**member("kind", TEXT), "anyOf": [member("a", NUMBER), member("b", NUMBER)]})
    assert accepts(schema, {"kind": "x", "a": 1})
    assert accepts(schema, {"kind": "x", "b": 1})
    assert not accepts(schema, {"kind": "x"})
    assert not accepts(schema, {"kind": "x", "a": 1, "c": 1})


def test_a_definition_used_alone_and_as_a_part_is_closed_where_it_is_alone() -> None:
    base = member("a", TEXT)
    schema = rewrite(
        {
            **member("one", {"$ref": "#/$defs/base"}),
            "properties": {
                "one": {"$ref": "#/$defs/base"},
                "two": {"allOf": [{"$ref": "#/$defs/base"}, member("b", TEXT)]},
            },
            "$defs": {"base": base},
        }
    )
    assert accepts(schema, {"one": {"a": "x"}, "two": {"a": "x", "b": "y"}})
    assert not accepts(schema, {"one": {"a": "x", "b": "y"}})


def nested(levels: int) -> dict[str, Any]:
    return {"next": nested(levels - 1)} if levels else {}


def test_recursion_ends_at_its_budget_and_that_is_said() -> None:
    schema = rewrite(member("next", {"$ref": "#"}, is_required=False))
    assert accepts(schema, nested(MOST_RECURSION))
    assert not accepts(schema, nested(MOST_RECURSION + 1))
    assert schema.ignored == (f"what is below {MOST_RECURSION} levels of recursion at #",)


def test_mutual_recursion_ends_too() -> None:
    schema = rewrite(
        {
            "$ref": "#/$defs/a",
            "$defs": {
                "a": member("b", {"$ref": "#/$defs/b"}, is_required=False),
                "b": member("a", {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}),
            },
        }
    )
    assert accepts(schema, {"b": {"a": {"b": {"a": None}}}})
    assert not accepts(schema, {"b": {"a": {"b": {"a": {"b": {"a": {"b": {"a": {}}}}}}}}})


def test_lists_of_the_same_are_empty_at_the_end() -> None:
    schema = rewrite(member("items", {"type": "array", "items": {"$ref": "#"}}))
    assert accepts(schema, {"items": [{"items": []}, {"items": [{"items": []}]}]})


@pytest.mark.parametrize(
    "schema",
    [
        member("next", {"$ref": "#"}),
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"anyOf": [{"$ref": "#"}]},
        {"allOf": [TEXT, {"not": {}}]},
    ],
)
def test_what_no_finite_text_fits_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequest, match="no finite text fits it"):
        rewrite(schema)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$ref": "#/definitions/a%20b~1c", "definitions": {"a b/c": NUMBER}}, 1),
        ({"$ref": "#name", "$defs": {"x": {"$anchor": "name", **NUMBER}}}, 1),
        ({"$ref": "https://x/y", "$defs": {"x": {"$id": "https://x/y", **NUMBER}}}, 1),
        ({"items": [TEXT, NUMBER], "additionalItems": False, "type": "array"}, ["x", 1]),
        ({"type": "string", "nullable": True}, None),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, 0.5),
        ({"propertyNames": {"enum": ["a", "b"]}, "type": "object"}, {"a": 1}),
        ({"propertyNames": {"pattern": "^a+$"}, "type": "object"}, {"aa": 1}),
        (
            {"propertyNames": {"$ref": "#/$defs/n"}, "type": "object", "$defs": {"n": AB}},
            {"a": 1},
        ),
    ],
)
def test_older_and_other_spellings_are_understood(schema: Any, value: Any) -> None:
    assert accepts(rewrite(schema), value)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": [TEXT, NUMBER], "additionalItems": False, "type": "array"}, ["x", 1, 2]),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, 0),
        ({"propertyNames": {"enum": ["a", "b"]}, "type": "object"}, {"c": 1}),
        ({"propertyNames": {"pattern": "^a+$"}, "type": "object"}, {"b": 1}),
        (
            {"propertyNames": {"$ref": "#/$defs/n"}, "type": "object", "$defs": {"n": AB}},
            {"c": 1},
        ),
        ({"type": "string", "pattern": r"^\d$"}, "٣"),
        ({"type": "string", "pattern": r"^[\w-]$"}, "ü"),
    ],
)
def test_they_are_kept_too(schema: Any, value: Any) -> None:
    assert not accepts(rewrite(schema), value)


def test_large_schemas_are_refused_before_they_cost_much() -> None:
    wide: Any = {"anyOf": [{"$ref": f"#/$defs/{n}"} for n in range(40)]}
    schema = {"$defs": {str(n): member("x", wide, is_required=False) for n in range(40)}, **wide}
    rewrite(schema)  # every definition once a level, not once a way
    deep: Any = TEXT
    for _ in range(900):
        deep = {"items": deep}
    with pytest.raises(InvalidRequest, match="nested more than"):
        rewrite(deep)
    with pytest.raises(InvalidRequest, match="bytes"):
        rewrite({"title": "x" * 200_000})


@pytest.mark.parametrize(
    "schema",
    [{"properties": []}, {"anyOf": {}}, {"items": 5}, {"allOf": [7]}, {"$ref": 3},
     {"$ref": "other.json"}, {"$ref": "#/$defs/none"}, {"properties": {"a": "x"}}],
)  # fmt: skip
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequest, match="invalid JSON schema in format"):
        rewrite(schema)


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        (r"^\d{3}$", r"^[0-9]{3}$"),
        (r"^[\d\/]+$", r"^[0-9/]+$"),
        (r"^[[a]$", r"^[\[a]$"),
        (r"\W", r"[^A-Za-z0-9_]"),
        (r"^a$|^b$", r"^a$|^b$"),
        (r"[\]]", r"[\]]"),
        (r"(?<year>\d)", r"(?<year>[0-9])"),
        (r"(?=a)", None),
        (r"(?<!a)b", None),
        (r"(a)\1", None),
        (r"\bword\b", None),
        (r"[^]", None),
        (r"a^b", None),
        (r"[a", None),
    ],
)
def test_patterns_are_translated_or_left_out(pattern: str, kept: str | None) -> None:
    assert translate(pattern) == kept


def test_the_order_of_members_is_kept() -> None:
    names = ["zip", "a", "m"]
    given = {"type": "object", "properties": dict.fromkeys(names, TEXT), "required": names}
    assert list(json.loads(rewrite(given).text)["properties"]) == names
