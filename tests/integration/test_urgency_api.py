"""`priority` and `timeout` mean the same in every API, as options and as headers."""

import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from support.daemon import Daemon, running_daemon, wait_until
from support.models import minilm_gguf, smollm2
from support.olm import olm, out

PATHS = ("/api/generate", "/api/chat", "/v1/chat/completions", "/v1/messages", "/api/embed")
ENDLESS = {"num_predict": 100_000, "ignore_eos": True}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("urgency") / "home"
    with running_daemon(home, environ={"OLM_NUM_PARALLEL": "2"}) as running:
        for name, weights in (("m", smollm2()), ("e", minilm_gguf())):
            out(olm(running.environ, "create", name, "-f", "-", stdin=f"FROM {weights}\n"))
        yield running


def body(**more: Any) -> dict[str, Any]:
    """A request that each of the APIs takes."""
    message = {"role": "user", "content": "Tell a story."}
    inputs = ["the old ship left the harbour " * 20] * 64
    return {"model": "m", "prompt": "Once", "messages": [message], "input": inputs, **more}


def model_of(path: str) -> str:
    """One that can do what is asked there."""
    return "e" if path == "/api/embed" else "m"


def post(
    daemon: Daemon, path: str, value: dict[str, Any], headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
    try:
        connection.request("POST", path, json.dumps(value), headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_that_takes_longer_than_its_timeout_is_504(daemon: Daemon, path: str) -> None:
    limits = {"model": model_of(path), "max_tokens": 64, "stream": False}
    for status, reply in (
        post(daemon, path, body(**limits, options={"timeout": "1ms"})),
        post(daemon, path, body(**limits), {"X-Olm-Timeout": "1ms"}),
    ):
        assert status == 504, reply
        assert b"no whole answer within the request's timeout of 0.001 s" in reply


@pytest.mark.parametrize("path", PATHS)
def test_what_means_nothing_is_400(daemon: Daemon, path: str) -> None:
    limits = {"model": model_of(path), "max_tokens": 1, "stream": False}
    for status, reply in (
        post(daemon, path, body(**limits, options={"priority": "high"})),
        post(daemon, path, body(**limits), {"X-Olm-Priority": "high"}),
        post(daemon, path, body(**limits), {"X-Olm-Timeout": "soon"}),
    ):
        assert status == 400, reply


def test_a_stream_ends_with_an_error_at_its_deadline(daemon: Daemon) -> None:
    assert post(daemon, "/api/generate", body(prompt="", stream=False))[0] == 200  # loads
    options = ENDLESS | {"timeout": 2}
    status, reply = post(daemon, "/api/generate", body(options=options))
    assert json.loads(reply.splitlines()[-1])["code"] == "deadline_exceeded"
    assert status in (200, 504)  # a loaded machine may not even begin in time


def busy(daemon: Daemon) -> int:
    models = json.loads(daemon.request("GET", "/api/ps")[1])["models"]
    return sum(one["sequences"]["busy"] for one in models if one["name"] == "m:latest")


@pytest.mark.timeout(300)
def test_a_person_is_answered_while_batch_takes_all_that_it_can(daemon: Daemon) -> None:
    assert post(daemon, "/api/generate", body(prompt="", stream=False))[0] == 200
    with ExitStack() as stack:
        for _ in range(3):
            connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
            stack.callback(connection.close)
            asked = json.dumps(body(options=ENDLESS))
            connection.request("POST", "/api/generate", asked, {"X-Olm-Priority": "batch"})
        waiting = b'olm_queue_length{model="m:latest"} 2'
        wait_until(
            lambda: waiting in daemon.request("GET", "/metrics")[1], timeout_s=60, what="batch"
        )
        assert busy(daemon) == 1
        status, reply = post(
            daemon, "/api/generate", body(stream=False, options={"num_predict": 2})
        )
        assert status == 200, reply
        assert busy(daemon) == 1
    wait_until(lambda: busy(daemon) == 0, timeout_s=60, what="the end of batch")
