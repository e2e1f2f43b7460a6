"""Traces as a real receiver of OTLP gets them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import models
from support.api import Api
from support.daemon import running_daemon, wait_until
from support.otlp import Receiver, receiving

SERVER = 2
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "The word is heliotrope."
BODY = {
    "model": "smol",
    "messages": [{"role": "user", "content": SECRET}],
    "options": {"temperature": 0, "seed": 7, "num_predict": 3, "stop": ["#"]},
}


@pytest.fixture(scope="module", params=["plain", "telling"])
def traced(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Api, Receiver, bool]]:
    tells = request.param == "telling"
    with receiving() as receiver:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_SERVICE_NAME": "models",
        }
        if tells:
            environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "true"
        home = tmp_path_factory.mktemp("traced") / "home"
        with running_daemon(home, environ=environ) as daemon:
            api = Api(daemon)
            api.create("smol", models.smollm2())
            yield api, receiver, tells


def test_an_answer_is_a_span_below_its_request(traced: tuple[Api, Receiver, bool]) -> None:
    api, receiver, tells = traced
    headers = {"traceparent": PARENT, "X-Request-Id": "traced-1"}
    last = api.post("/api/chat", BODY, headers=headers).lines[-1]
    wait_until(lambda: receiver.named("POST /api/chat"), what="the request's span")
    (request,) = receiver.named("POST /api/chat")
    (answer,) = receiver.named("chat smol:latest")
    assert request.trace_id == answer.trace_id == PARENT.split("-")[1]
    assert (request.parent_id, answer.parent_id) == (PARENT.split("-")[2], request.span_id)
    assert request.kind == SERVER
    assert request.resource["service.name"] == "models"
    assert request.attributes["http.request.method"] == "POST"
    assert request.attributes["http.route"] == "/api/chat"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["olm.request.id"] == "traced-1"
    said = answer.attributes
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.request.model"] == "smol:latest"
    assert said["gen_ai.request.max_tokens"] == 3
    assert said["gen_ai.request.seed"] == 7
    assert said["gen_ai.request.stop_sequences"] == ["#"]
    assert said["gen_ai.response.finish_reasons"] == [last["done_reason"]]
    assert said["gen_ai.usage.input_tokens"] == last["prompt_eval_count"]
    assert said["gen_ai.usage.output_tokens"] == last["eval_count"]
    assert said["gen_ai.response.time_to_first_chunk"] > 0
    assert (SECRET.encode() in receiver.raw) is tells
    if tells:
        (asked,) = json.loads(said["gen_ai.input.messages"])
        assert SECRET in asked["parts"][0]["content"]
        (told,) = json.loads(said["gen_ai.output.messages"])
        assert told["parts"][0]["content"]


def test_a_failure_is_told_with_its_kind(traced: tuple[Api, Receiver, bool]) -> None:
    api, receiver, _ = traced
    body = {**BODY, "truncate": False, "options": {"num_ctx": 4}}
    before = len(receiver.named("POST /v1/completions"))
    text = {"model": "smol", "prompt": "word " * 99, "truncate": False, "options": {"num_ctx": 16}}
    assert api.post("/v1/completions", text).status == 400
    assert api.post("/api/chat", body).status == 400
    wait_until(lambda: len(receiver.named("POST /v1/completions")) > before)
    failed = receiver.named("text_completion smol:latest")[-1]
    assert failed.is_error
    assert failed.attributes["error.type"] == "context_exceeded"
    # The request's span is no error: the client is to blame.
    assert not receiver.named("POST /v1/completions")[-1].is_error


def test_without_an_endpoint_nothing_of_it_is_imported() -> None:
    code = (
        "import sys, olmkit.engine.daemon, olmkit.engine.api.application\n"
        "from olmkit.engine.settings import Settings\n"
        "from olmkit.engine.telemetry.tracing import start_tracing\n"
        "print(start_tracing(Settings()), [m for m in sys.modules if 'opentelemetry' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "None []"


def test_an_endpoint_without_the_extra_is_told_and_the_daemon_serves(tmp_path: Path) -> None:
    blocked = tmp_path / "site"
    (blocked / "opentelemetry").mkdir(parents=True)
    (blocked / "opentelemetry" / "__init__.py").write_text("raise ImportError('not here')\n")
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(blocked)}
    with running_daemon(tmp_path / "home", environ=environ) as daemon:
        assert Api(daemon).get("/api/version").status == 200
        assert "OpenTelemetry is not installed" in daemon.log
        assert "olmkit[otel]" in daemon.log
