"""Tools as values of a template: their JSON schema under Go names, printing as JSON.

Keys of a schema that Ollama's types do not have (`format`, `minimum`, …) are dropped, as there.
Source: `Tool` of https://github.com/ollama/ollama/blob/v0.17.4/api/types.go;
field order in JSON is part of the behaviour.
"""

from collections.abc import Mapping, Sequence

from olmkit.modelfile.gotemplate.evaluation.values import (
    Field,
    SchemaTypes,
    Struct,
    StructType,
    TypedList,
    TypedMap,
)

_TOOL = StructType(
    name="template.templateTool",
    prints_json=True,
    fields=(
        Field(name="Type", json_name="type"),
        Field(name="Items", json_name="items", omit_empty=True),
        Field(name="Function", json_name="function"),
    ),
)
_FUNCTION = StructType(
    name="template.templateToolFunction",
    prints_json=True,
    fields=(
        Field(name="Name", json_name="name"),
        Field(name="Description", json_name="description"),
        Field(name="Parameters", json_name="parameters"),
    ),
)
_PARAMETERS = StructType(
    name="template.templateToolFunctionParameters",
    prints_json=True,
    fields=(
        Field(name="Type", json_name="type"),
        Field(name="Defs", json_name="$defs", omit_empty=True),
        Field(name="Items", json_name="items", omit_empty=True),
        Field(name="Required", json_name="required", omit_empty=True),
        Field(name="Properties", json_name="properties"),
    ),
)
_PROPERTY = StructType(
    name="api.ToolProperty",
    prints_json=True,
    fields=(
        Field(name="AnyOf", json_name="anyOf", omit_empty=True),
        Field(name="Type", json_name="type", omit_empty=True),
        Field(name="Items", json_name="items", omit_empty=True),
        Field(name="Description", json_name="description", omit_empty=True),
        Field(name="Enum", json_name="enum", omit_empty=True),
        Field(name="Properties", json_name="properties", omit_empty=True),
        Field(name="Required", json_name="required", omit_empty=True),
    ),
)
_TYPESCRIPT = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "array": "any[]",
    "object": "Record<string, any>",
    "null": "null",
}


def tools_value(tools: Sequence[Mapping[str, object]] | None) -> TypedList:
    """`.Tools`: a request's tools, each `{"type": "function", "function": {…}}`; None is nil."""
    values = None if tools is None else [_tool(tool) for tool in tools]
    return TypedList("template.templateTools", values)


def typescript_type(value: Struct) -> str:
    """The TypeScript type of a property, `any` for other structs."""
    return str(value.fields["ToTypeScriptType"]) if value.type is _PROPERTY else "any"


def _tool(tool: Mapping[str, object]) -> Struct:
    function = _mapping(tool.get("function"))
    fields = {
        "Type": _text(tool.get("type")),
        "Items": tool.get("items"),
        "Function": Struct(
            _FUNCTION,
            {
                "Name": _text(function.get("name")),
                "Description": _text(function.get("description")),
                "Parameters": _parameters(_mapping(function.get("parameters"))),
            },
        ),
    }
    return Struct(_TOOL, fields)


def _parameters(schema: Mapping[str, object]) -> Struct:
    fields = {
        "Type": _text(schema.get("type")),
        "Defs": schema.get("$defs"),
        "Items": schema.get("items"),
        "Required": _list(schema.get("required")),
        "Properties": _properties(schema.get("properties")),
    }
    return Struct(_PARAMETERS, fields)


def _properties(schemas: object) -> TypedMap:
    return TypedMap(
        "template.templateProperties",
        {str(name): _property(_mapping(schema)) for name, schema in _mapping(schemas).items()},
    )


def _property(schema: Mapping[str, object]) -> Struct:
    types = schema.get("type")
    alternatives = [_property(_mapping(part)) for part in _list(schema.get("anyOf"))]
    names = SchemaTypes([types] if isinstance(types, str) else _list(types))
    fields: dict[str, object] = {
        "AnyOf": alternatives,
        "Type": names,
        "Items": schema.get("items"),
        "Description": _text(schema.get("description")),
        "Enum": _list(schema.get("enum")),
        "Properties": _properties(schema.get("properties")),
        "Required": _list(schema.get("required")),
        "ToTypeScriptType": _typescript(alternatives, names),
    }
    return Struct(_PROPERTY, fields)


def _typescript(alternatives: list[Struct], types: SchemaTypes) -> str:
    if alternatives:
        return " | ".join(typescript_type(part) for part in alternatives)
    if not types:
        return "any"
    return " | ".join(_TYPESCRIPT.get(str(name), "any") for name in types)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
