"""The OpenAPI document against the router, and against what handlers really decode."""

import asyncio
import re
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from jsonschema import Draft202012Validator

from olmkit.engine.api.application import create_app
from olmkit.engine.api.operations.endpoints import ENDPOINTS, Endpoint
from olmkit.engine.api.operations.openapidocument import document_of
from olmkit.engine.services import Services
from olmkit.engine.settings import Settings
from olmkit.registry.store.store import Store

VARIABLE = re.compile(r"\{(\w+)(?::\w+)?\}")


@pytest.fixture(scope="module")
def document() -> Any:
    return document_of(ENDPOINTS)


def app_at(home: Path) -> Any:
    services = Services(
        settings=Settings(home=home, models=home / "models"),
        store=Store(home / "models"),
        pool=cast(Any, None),
        safeguard=cast(Any, None),
        templates=cast(Any, None),
        started_at=datetime.now().astimezone(),
    )
    return create_app(services)


def ask(home: Path, method: str, path: str, content: bytes) -> httpx.Response:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app_at(home), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, content=content)

    return asyncio.run(main())


def test_it_has_every_route_of_the_router_and_no_other(document: Any) -> None:
    from olmkit.engine.api.application import routes

    routed = {
        (VARIABLE.sub(r"{\1}", route.path), method.lower())
        for route in routes()
        for method in route.methods or ()
    }
    described = {
        (path, method) for path, methods in document["paths"].items() for method in methods
    }
    assert described == routed
    assert document["openapi"] == "3.1.0"


@pytest.mark.parametrize(
    "endpoint",
    [each for each in ENDPOINTS if each.body is not None],
    ids=lambda each: each.path.strip("/"),
)
def test_a_body_is_what_the_handler_decodes(tmp_path: Path, endpoint: Endpoint) -> None:
    assert endpoint.body is not None
    refused = ask(tmp_path, endpoint.methods[0], endpoint.path, b"[]")
    assert refused.status_code == 400
    said = f"cannot unmarshal array into Go value of {endpoint.body.__name__} of"
    assert said in refused.text


def test_endpoints_without_a_json_body_decode_none(tmp_path: Path) -> None:
    for endpoint in ENDPOINTS:
        if endpoint.body is None and "POST" in endpoint.methods:
            path = VARIABLE.sub("sha256:0", endpoint.path)
            assert "Go value of" not in ask(tmp_path, "POST", path, b"[]").text


def test_all_schemas_are_schemas_and_all_references_lead_somewhere(document: Any) -> None:
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    for found in re.findall(r"#/components/schemas/(\w+)", str(document)):
        assert found in schemas


def test_members_have_the_names_of_the_wire_and_say_what_they_mean(document: Any) -> None:
    schemas = document["components"]["schemas"]
    assert "from" in schemas["CreateRequest"]["properties"]
    assert "_debug_render_only" in schemas["GenerateRequest"]["properties"]
    budget = schemas["ChatRequest"]["properties"]["thinking_budget"]
    assert budget["description"].startswith("Most tokens of the thought")


def test_every_operation_has_an_id_of_its_own_and_a_summary(document: Any) -> None:
    operations = [each for methods in document["paths"].values() for each in methods.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)
    assert all(each["summary"] for each in operations)
