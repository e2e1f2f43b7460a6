"""The API described by OpenAPI 3.1, from the table of endpoints and the types that they decode.

What a member means is the docstring below it in its class; what an endpoint does, that of its
handler. Source: https://spec.openapis.org/oas/v3.1.0
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import msgspec

import olmkit
from olmkit.engine.api.operations.replyheaders import PROGRESS

if TYPE_CHECKING:
    from olmkit.engine.api.operations.endpoints import Endpoint

_TAGS: Final = (
    ("/v1/messages", "Anthropic", "Anthropic's API."),
    ("/v1", "OpenAI", "OpenAI's API."),
    ("/api", "Native", "Ollama's API, and olm's own routes beside it."),
    ("/", "Operations", "For whoever runs a daemon."),
)
_VARIABLE: Final = re.compile(r"\{(\w+)(?::\w+)?\}")
_ERRORS: Final = {
    "Native": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {"type": "string", "description": "One sentence."},
            "code": {"type": "string", "description": "The kind of error, for programs."},
            "http_status": {"type": "integer"},
            "hint": {"type": "string", "description": "What to do next."},
            "request_id": {"type": "string"},
        },
    },
    "OpenAI": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
            }
        },
    },
    "Anthropic": {
        "type": "object",
        "required": ["type", "error"],
        "properties": {
            "type": {"const": "error"},
            "error": {
                "type": "object",
                "required": ["type", "message"],
                "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
            },
            "request_id": {"type": ["string", "null"]},
        },
    },
}
_PROGRESS_PARAMETER: Final[dict[str, Any]] = {
    "name": PROGRESS,
    "in": "header",
    "required": False,
    "schema": {"type": "boolean", "default": False},
    "description": "Whether a stream tells how far the load of the model and the reading of the"
    " prompt are, before its answer begins: native ones in objects whose `olm` has `progress`,"
    ' others in comments, `: {"progress": …}`. Errors after the first such word have status 200.',
}
_ERRORS_OF_ROUTES: Final = {"Operations": "Native"}


def document_of(endpoints: "Iterable[Endpoint]") -> dict[str, Any]:
    """The description of all endpoints, as JSON values."""
    endpoints = tuple(endpoints)
    kinds = {kind for each in endpoints for kind in (each.body, each.reply) if kind is not None}
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    for kind in _with_members(ordered):
        _describe(schemas[kind.__name__], kind)
    for name, schema in _ERRORS.items():
        schemas[f"{name}Error"] = schema
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        path = _VARIABLE.sub(r"{\1}", endpoint.path)
        operations = {each.lower(): _operation(endpoint, each) for each in endpoint.methods}
        paths[path] = paths.get(path, {}) | operations
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "olm",
            "version": olmkit.__version__,
            "description": "Local language models over HTTP: Ollama's API, OpenAI's and"
            " Anthropic's. Members that are not listed are ignored; null counts as absent.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name, "description": text} for _, name, text in reversed(_TAGS)],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "headers": {
                "RequestId": {
                    "description": "The request's id: the client's, where it is well-formed.",
                    "schema": {"type": "string"},
                }
            },
        },
    }


def _operation(endpoint: "Endpoint", method: str) -> dict[str, Any]:
    tag = next(name for root, name, _ in _TAGS if endpoint.path.startswith(root))
    text = inspect.getdoc(endpoint.handler) or ""
    summary, _, rest = text.partition("\n\n")
    words = re.findall(r"\w+", _VARIABLE.sub(r"by_\1", endpoint.path)) or ["root"]
    operation: dict[str, Any] = {
        "operationId": "_".join((method.lower(), *words)),
        "tags": [tag],
        "summary": _one_line(summary).rstrip("."),
        "responses": _responses(endpoint, method, tag),
    }
    if rest:
        operation["description"] = _one_line(rest)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _VARIABLE.findall(endpoint.path)
    ]
    if endpoint.tells_progress:
        parameters.append(_PROGRESS_PARAMETER)
    if parameters:
        operation["parameters"] = parameters
    if method != "HEAD" and (endpoint.body is not None or endpoint.takes):
        schema = _reference(endpoint.body) if endpoint.body else {}
        media_type = endpoint.takes or "application/json"
        operation["requestBody"] = {"required": True, "content": {media_type: {"schema": schema}}}
    return operation


def _responses(endpoint: "Endpoint", method: str, tag: str) -> dict[str, Any]:
    headers = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
    done: dict[str, Any] = {"description": "It is done.", "headers": headers}
    failed: dict[str, Any] = {"description": "It failed.", "headers": headers}
    if method != "HEAD":
        if endpoint.gives:
            is_json = endpoint.gives == "application/json"
            schema = _reference(endpoint.reply) if endpoint.reply else {"type": "object"}
            done["content"] = {endpoint.gives: {"schema": schema} if is_json else {}}
        if endpoint.streams:
            done["content"][endpoint.streams] = {}
            done["description"] = "The whole answer, or a stream of its parts."
        name = _ERRORS_OF_ROUTES.get(tag, tag)
        error = {"schema": {"$ref": f"#/components/schemas/{name}Error"}}
        failed["content"] = {"application/json": error}
    return {"200": done, "default": failed}


def _reference(kind: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _with_members(kinds: Iterable[Any]) -> list[Any]:
    """All structs, those that are members of others too."""
    found: dict[str, Any] = {}
    todo = list(kinds)
    while todo:
        kind = todo.pop()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            if kind.__name__ not in found:
                found[kind.__name__] = kind
                todo += [field.type for field in msgspec.structs.fields(kind)]
        else:
            todo += getattr(kind, "__args__", ())
    return list(found.values())


def _describe(schema: dict[str, Any], kind: Any) -> None:
    """Put what the docstrings below a class's members say into its schema."""
    if "description" in schema:
        schema["description"] = _one_line(schema["description"])
    names = {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
    for base in kind.__mro__:
        if not issubclass(base, msgspec.Struct) or base is msgspec.Struct:
            continue
        for name, text in _member_docs(base).items():
            member = schema.get("properties", {}).get(names.get(name, name))
            if member is not None:
                member.setdefault("description", text)


def _member_docs(kind: type) -> dict[str, str]:
    return _docs_in(kind.__module__).get(kind.__name__, {})


@cache
def _docs_in(module_name: str) -> dict[str, dict[str, str]]:
    """What a module says below the members of its classes, by class and member."""
    found: dict[str, dict[str, str]] = {}
    for definition in ast.parse(inspect.getsource(sys.modules[module_name])).body:
        if not isinstance(definition, ast.ClassDef):
            continue
        members = found[definition.name] = {}
        for before, after in pairwise(definition.body):
            match before, after:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    members[name] = _one_line(text)
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split())
