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


COUNTS = (
    "total_duration load_duration prompt_eval_count prompt_eval_duration eval_count eval_duration"
)
OLLAMA = {
    "post /api/generate": (
        "format images keep_alive logprobs model options prompt raw stream suffix system think"
        " top_logprobs",
        f"created_at done done_reason logprobs model response thinking {COUNTS}",
    ),
    "post /api/chat": (
        "format keep_alive logprobs messages model options stream think tools top_logprobs",
        f"created_at done done_reason logprobs message model {COUNTS}",
    ),
    "post /api/embed": (
        "dimensions input keep_alive model options truncate",
        "embeddings load_duration model prompt_eval_count total_duration",
    ),
    "get /api/tags": ("", "models"),
    "get /api/ps": ("", "models"),
    "post /api/show": ("model verbose", ""),
    "post /api/create": (
        "from license messages model parameters parser quantize renderer stream system template",
        "completed digest status total",
    ),
    "post /api/copy": ("destination source", ""),
    "post /api/pull": ("insecure model stream", "completed digest status total"),
    "post /api/push": ("insecure model stream", "completed digest status total"),
    "delete /api/delete": ("model", ""),
    "get /api/version": ("", ""),
}
"""Members of requests and replies, from Ollama's own description of its API.

Source: https://github.com/ollama/ollama/blob/v0.17.4/docs/openapi.yaml
"""


@pytest.mark.parametrize("operation", OLLAMA)
def test_what_ollama_describes_is_described_here_too(document: Any, operation: str) -> None:
    method, path = operation.split()
    found = document["paths"][path][method]
    asked, told = OLLAMA[operation]
    bodies = (found.get("requestBody", {}), found["responses"]["200"])
    for body, members in zip(bodies, (asked, told), strict=True):
        if members:
            reference = body["content"]["application/json"]["schema"]["$ref"]
            schema = document["components"]["schemas"][reference.rpartition("/")[2]]
            assert set(members.split()) <= set(schema["properties"])
