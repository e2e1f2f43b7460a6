"""What a client waits for before its answer begins is told to those who ask, in every API."""

import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest

from support import models
from support.api import Answer, Api
from support.daemon import running_daemon, wait_until

ASKS = {"X-Olm-Progress": "true"}
LONG = "Once upon a time there was a fox. " * 150
"""Some 1200 tokens: three steps of the engine."""
QUESTION = [{"role": "user", "content": LONG}]
GREEDY: dict[str, Any] = {"temperature": 0, "seed": 1}
STREAMS: dict[str, dict[str, Any]] = {
    "/api/generate": {"prompt": LONG, "options": GREEDY | {"num_predict": 4}},
    "/api/chat": {"messages": QUESTION, "options": GREEDY | {"num_predict": 4}},
    "/v1/chat/completions": {"messages": QUESTION, "max_tokens": 4, **GREEDY},
    "/v1/completions": {"prompt": LONG, "max_tokens": 4, **GREEDY},
    "/v1/responses": {"input": LONG, "max_output_tokens": 4, "temperature": 0},
    "/v1/messages": {"messages": QUESTION, "max_tokens": 4, "temperature": 0},
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    # No prompt is kept: each is read again, as if it had not been seen before.
    environ = {"OLM_PROMPT_CACHE": "0", "OLM_CACHE_DISK": "0"}
    with running_daemon(tmp_path_factory.mktemp("progress") / "home", environ=environ) as daemon:
        api = Api(daemon)
        api.create("m", models.tiny_chat())
        yield api


def body(path: str, **more: Any) -> dict[str, Any]:
    """A request whose answer comes in pieces."""
    return {"model": "m", "stream": True, **STREAMS[path], **more}


def forget(api: Api) -> None:
    """Unload the model, and what it knows of earlier prompts with it."""
    assert api.post("/api/generate", {"model": "m", "keep_alive": 0}).json["done"]
    wait_until(lambda: not api.running(), what="the model's end")


def told(answer: Answer) -> tuple[list[dict[str, Any]], list[str]]:
    """What was told of the wait, and the lines of the answer behind it."""
    reports, rest = [], []
    for line in answer.body.decode().splitlines():
        report = None
        if line.startswith(": "):
            report = json.loads(line[2:])["progress"]
        elif line.startswith("{"):
            report = json.loads(line).get("olm", {}).get("progress")
        if report is None:
            rest.append(line)
        else:
            assert not any(rest), "the answer has begun"
            reports.append(report)
    return reports, [line for line in rest if line]


@pytest.mark.parametrize("path", STREAMS)
def test_a_load_and_a_long_prompt_are_told_before_the_answer(api: Api, path: str) -> None:
    forget(api)
    cold = api.post(path, body(path), headers=ASKS)
    assert cold.status == 200
    reports, lines = told(cold)
    assert {report["phase"] for report in reports} <= {"load", "prompt"}
    assert reports[0]["phase"] == "load"
    assert all(0 < report["fraction"] <= 1 for report in reports)
    forget(api)
    api.post("/api/generate", {"model": "m"})
    loaded = api.post(path, body(path), headers=ASKS)
    reports, again = told(loaded)
    assert {report["phase"] for report in reports} == {"prompt"}
    (first, *_), counts = reports, [report["processed_tokens"] for report in reports]
    assert counts == sorted(set(counts))
    assert 0 < first["processed_tokens"] < first["total_tokens"]
    assert first["fraction"] == round(first["processed_tokens"] / first["total_tokens"], 4)
    assert len(again) == len(lines) > 1
    silent = api.post(path, body(path))
    assert silent.headers["content-type"] == loaded.headers["content-type"]
    reports, lines = told(silent)
    assert not reports and len(lines) == len(again)


def test_who_does_not_stream_or_does_not_ask_gets_what_ollama_says(api: Api) -> None:
    load = {"model": "m"}
    for path, more, headers in (
        ("/api/generate", {}, {}),
        ("/api/generate", {}, {"X-Olm-Progress": "0"}),
        ("/api/generate", {"stream": False}, ASKS),
        ("/api/chat", {}, {}),
        ("/api/chat", {"stream": False}, ASKS),
    ):
        forget(api)
        answer = api.post(path, load | more, headers=headers)
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert answer.json["done_reason"] == "load" and "olm" not in answer.json
    whole = api.post("/v1/chat/completions", body("/v1/chat/completions", stream=False))
    asked = api.post(
        "/v1/chat/completions", body("/v1/chat/completions", stream=False), headers=ASKS
    )
    assert asked.json["choices"] == whole.json["choices"]


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_a_load_alone_is_told_in_lines(api: Api, path: str) -> None:
    while True:
        forget(api)
        *waits, last = api.post(path, {"model": "m"}, headers=ASKS).lines
        if waits:  # a load may be over before there is anything to tell
            break
    assert {line["olm"]["progress"]["phase"] for line in waits} == {"load"}
    assert {(line["model"], line["done"]) for line in waits} == {("m", False)}
    assert (last["done"], last["done_reason"]) == (True, "load") and "olm" not in last


def test_released_clients_pass_over_it(api: Api) -> None:
    url = api.daemon.url
    given: dict[str, Any] = {"api_key": "none", "max_retries": 0, "default_headers": ASKS}
    asked: dict[str, Any] = {"model": "m", "stream": True}
    forget(api)
    openais: Any = openai.OpenAI(base_url=f"{url}/v1", **given)
    with openais:
        chat = openais.chat.completions.create(messages=QUESTION, max_tokens=4, **asked)
        assert [chunk.choices[0].finish_reason for chunk in chat][-1] == "length"
        forget(api)
        events = openais.responses.create(input=LONG, max_output_tokens=4, **asked)
        assert [event.type for event in events][-1] == "response.incomplete"
    forget(api)
    anthropics: Any = anthropic.Anthropic(base_url=url, **given)
    with (
        anthropics,
        anthropics.messages.stream(model="m", messages=QUESTION, max_tokens=4) as message,
    ):
        assert message.get_final_message().stop_reason == "max_tokens"
    forget(api)
    own: Any = ollama.Client(host=url, headers=ASKS)
    with closing(own._client):
        parts = list(own.chat(messages=QUESTION, options={"num_predict": 4}, **asked))
    assert parts[0].message.content == "" and not parts[0].done
    assert parts[-1].done_reason == "length"


def test_an_error_is_a_status_as_long_as_nothing_was_told(api: Api) -> None:
    for path in STREAMS:
        unknown = api.post(path, body(path, model="nonesuch"), headers=ASKS)
        assert unknown.status == 404, path
        nonsense = api.post(path, body(path), headers={"X-Olm-Progress": "perhaps"})
        assert nonsense.status == 400, path
        error = nonsense.json["error"]
        text = error if isinstance(error, str) else error["message"]
        assert text == "X-Olm-Progress must be true or false"
    tight = body("/api/generate", truncate=False, options={"num_ctx": 64})
    forget(api)
    late = api.post("/api/generate", tight, headers=ASKS)
    assert late.status == 200
    assert late.lines[0]["olm"]["progress"]["phase"] == "load"
    assert late.lines[-1]["code"] == "context_exceeded" and "done" not in late.lines[-1]
    assert api.post("/api/generate", tight, headers=ASKS).status == 400


def test_who_waits_for_its_turn_hears_its_place(tmp_path: Path) -> None:
    def report(reply: http.client.HTTPResponse) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(reply.readline())["olm"]["progress"]
        return told

    with running_daemon(tmp_path / "home", environ={"OLM_NUM_PARALLEL": "1"}) as daemon:
        api = Api(daemon)
        api.create("m", models.tiny_chat())
        endless = {"model": "m", "prompt": "Once", "options": {"num_predict": 1_000_000}}
        with ExitStack() as stack, ExitStack() as busy:
            busy.enter_context(daemon.stream("POST", "/api/generate", endless)).readline()
            waiting = []
            for place in (1, 2):
                connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
                stack.callback(connection.close)
                connection.request("POST", "/api/generate", json.dumps(endless), ASKS)
                waiting.append(connection.getresponse())
                told = {"phase": "queue", "fraction": 0.0, "position": place}
                assert report(waiting[-1]) == told
            first, second = waiting
            busy.close()
            assert report(second)["position"] == 1
            assert json.loads(first.readline())["response"]


@pytest.mark.parametrize("phase", ["load", "prompt"])
def test_who_leaves_while_it_waits_ends_the_request(api: Api, phase: str) -> None:
    forget(api)
    if phase == "prompt":
        api.post("/api/generate", {"model": "m"})
    before = api.cancelled()
    connection = http.client.HTTPConnection("127.0.0.1", api.daemon.port, timeout=60)
    endless = {"num_predict": 1_000_000, "ignore_eos": True}
    sent = json.dumps(body("/api/generate", options=endless))
    connection.request("POST", "/api/generate", sent, ASKS)
    with closing(connection), connection.getresponse() as reply:
        assert json.loads(reply.readline())["olm"]["progress"]["phase"] == phase
    wait_until(lambda: api.cancelled() == before + 1, what="the end of the request")
    assert api.post("/api/generate", {"model": "m"}).json["done"]
