"""Values against JSON schemas: what is wrong is found, and nothing else is."""

import pytest

from olmkit.cli.oneshot.schemacheck import find_violation

TREE = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer"}, 3, 3.5),
        ({"type": "integer"}, 3.0, True),
        ({"type": ["string", "null"]}, None, 1),
        ({"enum": [1, "a"]}, "a", True),
        ({"const": {"a": [1]}}, {"a": [1]}, {"a": [True]}),
        ({"minLength": 2, "maxLength": 3}, "ab", "abcd"),
        ({"pattern": "^a+$"}, "aa", "ab"),
        ({"minimum": 1, "exclusiveMaximum": 2}, 1, 2),
        ({"multipleOf": 0.1}, 0.3, 0.35),
        ({"uniqueItems": True}, [1, True], [1, 2, 1]),
        ({"prefixItems": [{"type": "string"}], "items": False}, ["a"], ["a", 1]),
        ({"contains": {"type": "null"}, "maxContains": 1}, [1, None], [None, None]),
        ({"required": ["a"]}, {"a": 1}, {}),
        ({"properties": {"a": {"type": "null"}}}, {"a": None}, {"a": 1}),
        ({"properties": {"a": True}, "additionalProperties": False}, {"a": 1}, {"b": 1}),
        ({"patternProperties": {"^x": {"type": "null"}}}, {"x1": None}, {"x1": 1}),
        ({"dependentRequired": {"a": ["b"]}}, {"b": 1}, {"a": 1}),
        ({"not": {"type": "string"}}, 1, "a"),
        ({"oneOf": [{"minimum": 1}, {"maximum": 3}]}, 0, 2),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None, 1),
        ({"if": {"minimum": 5}, "then": {"maximum": 7}}, 4, 8),
        (TREE, [[], [[]]], [[1]]),
    ],
)
def test_keywords(schema: object, good: object, bad: object) -> None:
    assert find_violation(good, schema) is None
    assert find_violation(bad, schema) is not None


def test_the_place_is_named() -> None:
    schema = {"properties": {"people": {"items": {"properties": {"age": {"type": "integer"}}}}}}
    said = find_violation({"people": [{"age": 1}, {"age": "x"}]}, schema)
    assert said == '/people/1/age: "x" is no integer'


def test_a_schema_that_refers_to_itself_without_end_is_no_hang() -> None:
    assert find_violation(1, {"$ref": "#"}) == "/: nested too deeply to be checked"


def test_a_reference_to_nothing_allows_nothing() -> None:
    assert find_violation(1, {"$ref": "#/$defs/absent"}) == "/: nothing is allowed here"
