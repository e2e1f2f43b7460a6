"""What a daemon tells whoever runs it: metrics, health, readiness, ids, headers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import models
from support.api import Answer, Api
from support.daemon import running_daemon, wait_until
from support.metrics import grown, scrape, value

OPTIONS = {"temperature": 0, "seed": 1, "num_predict": 4}
LONG = "Once upon a time there was a fox. " * 40


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    environ = {"OLM_DEBUG": "1", "OLM_MAX_LOADED_MODELS": "1", "OLM_ORIGINS": "https://page.test"}
    with running_daemon(tmp_path_factory.mktemp("seen") / "home", environ=environ) as daemon:
        client = Api(daemon)
        client.create("smol", models.smollm2())
        client.create("minilm", models.minilm_gguf())
        yield client


def generate(api: Api, headers: dict[str, str] | None = None, **members: object) -> Answer:
    body = {"model": "smol", "prompt": "Hi", "stream": False, "raw": True, "options": OPTIONS}
    answer = api.post("/api/generate", {**body, **members}, headers=headers)
    assert answer.status == 200, answer.body
    return answer


# --- metrics ----------------------------------------------------------------------------------


def test_an_answer_is_counted_with_its_tokens_and_times(api: Api) -> None:
    before = scrape(api)
    first = generate(api, prompt=LONG).json
    second = generate(api, prompt=LONG, stream=True).lines[-1]
    labels = {"route": "/api/generate", "method": "POST", "status": "200"}

    def are_counted() -> bool:
        return grown(before, scrape(api), "olm_http_requests_total", **labels) == 2

    wait_until(are_counted, what="the count of both requests, which are over after their answers")
    after = scrape(api)
    model = "smol:latest"
    assert first["done_reason"] == second["done_reason"] == "length"
    assert grown(before, after, "olm_completions_total", model=model, end="length") == 2
    tokens = first["prompt_eval_count"] + second["prompt_eval_count"]
    assert grown(before, after, "olm_prompt_tokens_total", model=model) == tokens
    cached = second["prompt_eval_cached_count"]
    assert cached > 0
    assert grown(before, after, "olm_prompt_cached_tokens_total", model=model) >= cached
    assert grown(before, after, "olm_prompt_cache_hits_total", model=model) >= 1
    assert grown(before, after, "olm_completion_tokens_total", model=model) == 8
    assert grown(before, after, "olm_time_to_first_token_seconds_count", model=model) == 2
    assert grown(before, after, "olm_inter_token_seconds_count", model=model) >= 4
    assert grown(before, after, "olm_queue_seconds_count", model=model) == 2
    duration = "olm_http_request_duration_seconds_count"
    assert grown(before, after, duration, route="/api/generate") == 2


def test_loads_memory_runners_and_evictions_are_told(api: Api) -> None:
    generate(api)
    loaded = scrape(api)
    model = {"model": "smol:latest"}
    assert value(loaded, "olm_loads_total", **model, end="loaded") >= 1
    assert value(loaded, "olm_load_seconds_count", **model) >= 1
    assert value(loaded, "olm_runners", state="ready") == 1
    told = api.get("/api/ps").json["models"][0]["size"]
    assert value(loaded, "olm_model_memory_bytes", **model) == told
    planned = value(loaded, "olm_model_planned_memory_bytes", **model)
    assert told / 2 < planned < told * 2
    assert value(loaded, "olm_model_leases", **model) == 0
    assert api.post("/api/embed", {"model": "minilm", "input": ["a", "b"]}).status == 200
    after = scrape(api)
    assert grown(loaded, after, "olm_evictions_total") == 1
    assert grown(loaded, after, "olm_embeddings_total", model="minilm:latest") == 2
    assert grown(loaded, after, "olm_prompt_tokens_total", model="minilm:latest") > 0
    assert ("olm_model_memory_bytes", frozenset(model.items())) not in after


def test_requests_that_fail_or_break_off_are_counted_by_their_end(api: Api) -> None:
    generate(api)
    before = scrape(api)
    refused = api.post(
        "/api/generate",
        {"model": "smol", "prompt": LONG, "truncate": False, "options": {"num_ctx": 64}},
    )
    assert refused.status == 400
    endless = {"model": "smol", "prompt": "1 2 3", "raw": True, "options": {"num_predict": 100000}}
    with api.daemon.stream("POST", "/api/generate", endless) as reply:
        reply.readline()
    model = "smol:latest"
    wait_until(
        lambda: grown(before, scrape(api), "olm_completions_total", model=model, end="cancelled")
    )
    after = scrape(api)
    ends = ("olm_completions_total", {"model": model, "end": "context_exceeded"})
    assert grown(before, after, ends[0], **ends[1]) == 1
    assert value(after, "olm_http_requests_in_progress") == 1  # this one


def test_strangers_cannot_make_series(api: Api) -> None:
    before = scrape(api)
    for number in range(20):
        assert api.get(f"/nowhere/{number}").status == 404
        assert api.post("/api/generate", {"model": f"none-{number}"}).status == 404
        assert api.ask("PROPFIND", "/api/tags").status == 405
        assert api.get(f"/v1/models/none-{number}").status == 404
    after = scrape(api)
    new = {name for name in after.keys() - before.keys() if not name[0].endswith("_bucket")}
    assert len(new) <= 4 * 3
    labels = {"route": "none", "method": "GET", "status": "404"}
    assert grown(before, after, "olm_http_requests_total", **labels) == 20
    labels = {"route": "/v1/models/{name}", "method": "GET", "status": "404"}
    assert grown(before, after, "olm_http_requests_total", **labels) == 20


# --- health -----------------------------------------------------------------------------------


def test_a_daemon_is_healthy_at_once_and_ready_when_its_engine_has_run(api: Api) -> None:
    assert api.get("/healthz").json == {"status": "ok"}
    assert api.ask("HEAD", "/healthz").status == 200
    wait_until(lambda: api.get("/readyz").status == 200, timeout_s=60)
    ready = {"status": "ready", "checks": {"store": "ok", "engine": "ok"}}
    assert api.get("/readyz").json == ready


def test_an_unreadable_store_is_not_ready_and_healthy(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    (home / "models" / "manifests").write_text("no directory")
    with running_daemon(home) as daemon:
        api = Api(daemon)
        answer = api.get("/readyz")
        assert answer.status == 503
        store = answer.json["checks"]["store"]
        assert store == f"{home}/models/manifests cannot be read: not a directory"
        assert api.get("/healthz").status == 200


def test_an_engine_that_does_not_load_is_not_ready(tmp_path: Path) -> None:
    nothing = tmp_path / "libraries"
    nothing.mkdir()
    environ = {"LLAMA_CPP_LIB_PATH": str(nothing)}
    with running_daemon(tmp_path / "home", environ=environ) as daemon:
        api = Api(daemon)
        found = api.get("/readyz")
        assert found.status == 503

        def is_told() -> bool:
            nonlocal found
            found = api.get("/readyz")
            assert found.status == 503
            return bool(found.json["checks"]["engine"] != "is being checked")

        wait_until(is_told, timeout_s=60)
        assert found.json["checks"]["engine"].startswith("the engine ")
        assert found.json["checks"]["store"] == "ok"


# --- ids --------------------------------------------------------------------------------------


def test_a_well_formed_id_comes_back_and_is_in_the_log(api: Api) -> None:
    told = {"X-Request-Id": "check-1/a.B_c:2"}
    answer = generate(api, headers=told)
    assert answer.headers["x-request-id"] == "check-1/a.B_c:2"
    wait_until(lambda: "request=check-1/a.B_c:2" in api.daemon.log)


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "a\tb", "é", 'a"b', None])
def test_any_other_id_is_replaced(api: Api, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-Id": given}
    made = api.ask("GET", "/api/version", headers=headers).headers["x-request-id"]
    assert re.fullmatch("req_[0-9a-f]{24}", made)


@pytest.mark.parametrize("path", ["/api/show", "/v1/chat/completions", "/v1/messages", "/nope"])
def test_errors_carry_the_id(api: Api, path: str) -> None:
    answer = api.post(path, {"model": "none"}, headers={"X-Request-Id": "mine"})
    assert answer.status in (400, 404)
    assert answer.headers["x-request-id"] == "mine"
    if path == "/api/show":
        assert answer.json["request_id"] == "mine"
    if path == "/v1/messages":
        assert answer.json["request_id"] == answer.headers["request-id"] == "mine"


def test_a_refused_page_gets_an_id_and_an_allowed_one_may_read_the_headers(api: Api) -> None:
    refused = api.ask("GET", "/api/tags", headers={"Origin": "https://evil.test"})
    assert refused.status == 403
    assert refused.json["request_id"] == refused.headers["x-request-id"]
    allowed = api.ask("GET", "/api/tags", headers={"Origin": "https://page.test"})
    exposed = allowed.headers["access-control-expose-headers"].split(",")
    assert {"X-Request-Id", "X-Olm-Truncated"} <= set(exposed)


def test_an_error_in_the_midst_of_a_stream_carries_the_id(api: Api) -> None:
    endless = {"model": "smol", "prompt": "1 2 3", "raw": True, "options": {"num_predict": 100000}}
    generate(api)
    with api.daemon.stream("POST", "/api/generate", endless) as reply:
        reply.readline()
        (runner,) = api.daemon.runners()
        runner.kill()
        last = json.loads(reply.read().splitlines()[-1])
        assert last["code"] == "runner_died"
        assert last["request_id"] == reply.headers["x-request-id"]


# --- headers ----------------------------------------------------------------------------------


def test_a_whole_answer_tells_in_headers_what_it_took(api: Api) -> None:
    answer = generate(api, prompt=LONG)
    said, headers = answer.json, answer.headers
    assert headers["x-olm-device"] == "CPU"
    assert headers["x-olm-context-length"] == "2048"
    assert int(headers["x-olm-context-used"]) == said["prompt_eval_count"] + said["eval_count"]
    assert int(headers["x-olm-cached-tokens"]) == said.get("prompt_eval_cached_count", 0)
    assert "x-olm-truncated" not in headers
    cut = generate(api, prompt=LONG, options={**OPTIONS, "num_ctx": 128})
    assert cut.headers["x-olm-context-length"] == "128"
    dropped = cut.json["olm"]["dropped_prompt_tokens"]
    assert cut.headers["x-olm-truncated"] == f"prompt-tokens={dropped}"


def test_a_stream_tells_what_is_known_at_its_first_token(api: Api) -> None:
    talk = [{"role": "user", "content": LONG}, {"role": "assistant", "content": "Yes."}]
    body = {
        "model": "smol",
        "messages": [*talk, {"role": "user", "content": "Why?"}],
        "options": {**OPTIONS, "num_ctx": 128},
    }
    answer = api.post("/api/chat", body)
    assert answer.headers["x-olm-device"] == "CPU"
    assert answer.headers["x-olm-context-length"] == "128"
    dropped = answer.lines[-1]["olm"]["dropped_messages"]
    assert answer.headers["x-olm-truncated"] == f"messages={dropped}"
    assert "x-olm-context-used" not in answer.headers


def test_answers_of_the_other_apis_have_the_same_headers(api: Api) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    chat = {"model": "smol", "messages": messages, "max_tokens": 4}
    for path in ("/v1/chat/completions", "/v1/messages"):
        answer = api.post(path, chat)
        assert answer.status == 200
        assert answer.headers["x-olm-device"] == "CPU"
        usage = answer.json["usage"]
        if path == "/v1/chat/completions":
            assert int(answer.headers["x-olm-context-used"]) == usage["total_tokens"]
    several = api.post("/v1/chat/completions", {**chat, "n": 2})
    assert int(several.headers["x-olm-context-used"]) == several.json["usage"]["total_tokens"]
