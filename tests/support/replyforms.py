"""Replies held to the forms that `/openapi.json` describes, member by member."""

from copy import deepcopy
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from olmkit.engine.api.operations.endpoints import ENDPOINTS
from olmkit.engine.api.operations.openapidocument import document_of


@cache
def _closed() -> Any:
    """The description, with objects that have no members but those described."""
    document = deepcopy(document_of(ENDPOINTS))
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return document


def check_form(method: str, path: str, reply: object) -> None:
    """Fail where the JSON of a reply lacks a member, or has one that is not described."""
    document = _closed()
    schema = document["paths"][path][method]["responses"]["200"]["content"]["application/json"]
    assert "$ref" in schema["schema"], f"the reply of {path} has no form"
    whole = {**schema["schema"], "components": document["components"]}
    errors = [f"{each.json_path}: {each.message}" for each in _problems(whole, reply)]
    assert errors == []


def _problems(schema: Any, reply: object) -> list[Any]:
    return list(Draft202012Validator(schema).iter_errors(reply))
