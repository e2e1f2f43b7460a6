"""Requests of any kind that the description allows, and of some that it does not, to a daemon.

schemathesis (https://schemathesis.readthedocs.io) makes them. No answer may be a 500, and every
answer has the form that is described.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import response_schema_conformance
from schemathesis.core.result import Ok

from olmkit.engine.api.operations.endpoints import ENDPOINTS
from olmkit.engine.api.operations.openapidocument import document_of
from support import models
from support.api import Api
from support.daemon import running_daemon

EXAMPLES = 5
"""Of each operation; a defect that they missed is a case for a test of its own."""
ALTERING = ("/api/delete", "/api/create", "/api/pull", "/api/push", "/api/copy")
"""Others are asked for a model that is there: what lies behind a name that nobody has is short."""

ENDLESS = ("/api/events",)
"""Their answers end where nobody follows."""


@schemathesis.serializer("application/x-tar")
def as_bytes(context: Any, value: Any) -> bytes:
    """What is no archive at all."""
    return value if isinstance(value, bytes) else repr(value).encode()


SCHEMA = schemathesis.openapi.from_dict(document_of(ENDPOINTS))
OPERATIONS: dict[str, Any] = {
    f"{result.ok().method.upper()} {result.ok().path}": result.ok()
    for result in SCHEMA.get_all_operations()
    if isinstance(result, Ok)
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    # Nothing leaves this machine, and no answer is long.
    environ = {
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "OLM_CONTEXT_LENGTH": "64",
        "OLM_ON_OVERFLOW": "error",
    }
    with running_daemon(tmp_path_factory.mktemp("fuzzed") / "home", environ=environ) as daemon:
        client = Api(daemon)
        client.create("smol", models.smollm2(), parameters={"num_predict": 2})
        yield client


def is_no_defect(
    context: Any, response: schemathesis.Response, case: "schemathesis.Case[Any]"
) -> None:
    """502 to 507 tell of other machines, queues, time and memory; 500 of the daemon itself."""
    assert response.status_code != 500, response.text


def test_every_operation_of_the_description_can_be_asked() -> None:
    assert all(isinstance(result, Ok) for result in SCHEMA.get_all_operations())


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_request_is_answered_by_a_defect(api: Api, name: str) -> None:
    operation = OPERATIONS[name]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: "schemathesis.Case[Any]") -> None:
        body = case.body
        if operation.path not in ALTERING and isinstance(body, dict) and body.get("model"):
            body["model"] = "smol"
        if operation.path in ENDLESS:
            case.query = {**(case.query or {}), "follow": "false"}
        checks = [is_no_defect, response_schema_conformance]
        case.call_and_validate(base_url=api.daemon.url, timeout=60, checks=checks)

    ask()
