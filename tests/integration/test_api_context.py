"""Contexts over the API: each request has its own, and what one cannot hold is told."""

from collections.abc import Iterator
from typing import Any

import pytest

from support import models
from support.api import Api
from support.daemon import running_daemon

GREEDY = {"temperature": 0, "seed": 1}
LONG = "Once upon a time there was a fox. " * 40
"""About 330 tokens."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    home = tmp_path_factory.mktemp("context") / "home"
    with running_daemon(home, environ={"OLM_CONTEXT_LENGTH": ""}) as daemon:
        client = Api(daemon)
        client.create("smol", models.tiny_chat())
        client.create("minilm", models.minilm_gguf())
        yield client


def ask(api: Api, path: str = "generate", *, status: int = 200, **members: Any) -> Any:
    options = {**GREEDY, "num_predict": 4, **members.pop("options", {})}
    body = {"model": "smol", "stream": False, "options": options, **members}
    answer = api.post(f"/api/{path}", body)
    assert answer.status == status, answer.body
    return answer.json


def loaded_tokens(api: Api, name: str = "smol:latest") -> int:
    (found,) = [one for one in api.get("/api/ps").json["models"] if one["name"] == name]
    return int(found["context_length"])


def turn(number: int) -> list[dict[str, str]]:
    question = f"Question {number}: " + "tell me about foxes. " * 10
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": f"Answer {number}: " + "foxes are red. " * 10},
    ]


def history(turns: int) -> list[dict[str, str]]:
    """A conversation with a system message and so many turns before the last question."""
    return [
        {"role": "system", "content": "You speak of foxes."},
        *[message for number in range(turns) for message in turn(number)],
        {"role": "user", "content": "What colour are they?"},
    ]


# --- whose context it is ----------------------------------------------------------------------


def test_a_short_context_of_one_client_is_not_that_of_the_next(api: Api) -> None:
    assert ask(api, prompt="Hi", options={"num_ctx": 256})["done"]
    assert loaded_tokens(api) == 256
    plain = ask(api, prompt=LONG, raw=True, truncate=False)
    assert plain["prompt_eval_count"] > 300
    assert loaded_tokens(api) == 4096


def test_a_context_below_the_loaded_one_is_kept_to(api: Api) -> None:
    ask(api, prompt="Hi")
    assert loaded_tokens(api) == 4096
    refused = ask(api, prompt=LONG, raw=True, truncate=False, options={"num_ctx": 256}, status=400)
    assert "256 fit" in refused["error"]
    full = ask(
        api,
        prompt="Count: 1, 2, 3,",
        raw=True,
        shift=False,
        options={"num_ctx": 32, "num_predict": 100},
    )
    assert full["prompt_eval_count"] + full["eval_count"] == 32
    assert full["done_reason"] == "length"
    assert loaded_tokens(api) == 4096


def test_an_embedding_is_cut_to_the_context_that_was_asked_for(api: Api) -> None:
    body = {"model": "minilm", "input": "why is the sky blue"}
    whole = api.post("/api/embed", body).json
    cut = api.post("/api/embed", {**body, "options": {"num_ctx": 4}}).json
    short = api.post("/api/embed", {**body, "input": "why is"}).json
    assert (whole["prompt_eval_count"], cut["prompt_eval_count"]) == (7, 4)
    assert cut["embeddings"] == short["embeddings"] != whole["embeddings"]
    refused = api.post("/api/embed", {**body, "options": {"num_ctx": 4}, "truncate": False})
    assert refused.status == 400
    assert refused.error.startswith("the input length exceeds the context length")


# --- what goes when it is full ----------------------------------------------------------------


def test_old_turns_go_first_and_the_system_message_stays(api: Api) -> None:
    messages = history(6)
    whole = ask(api, "chat", messages=messages, truncate=False)
    assert "olm" not in whole
    short = ask(api, "chat", messages=messages, options={"num_ctx": 256})
    dropped = short["olm"]["dropped_messages"]
    assert dropped > 0
    assert short["prompt_eval_count"] + 4 <= 256
    roomy = ask(api, "chat", messages=messages, options={"num_ctx": 256, "num_predict": 100})
    # A quarter of the context is for the answer.
    assert roomy["prompt_eval_count"] <= 192
    assert "shifted_tokens" not in roomy["olm"] or roomy["eval_count"] > 64
    # The same as a conversation that begins where the shortened one does.
    kept = [messages[0], *messages[1 + dropped :]]
    same = ask(api, "chat", messages=kept, options={"num_ctx": 256})
    assert kept[1]["role"] == "user"
    assert same["prompt_eval_count"] == short["prompt_eval_count"]
    assert same["message"] == short["message"]


def test_a_history_that_is_too_long_is_refused_on_request(api: Api) -> None:
    messages = history(12)
    refused = ask(
        api, "chat", messages=messages, truncate=False, options={"num_ctx": 512}, status=400
    )
    assert refused["code"] == "context_exceeded"


def test_a_last_message_that_is_too_long_loses_its_middle(api: Api) -> None:
    messages = [{"role": "user", "content": LONG * 2}]
    short = ask(api, "chat", messages=messages, options={"num_ctx": 256})
    assert short["olm"]["dropped_prompt_tokens"] > 300
    assert short["prompt_eval_count"] < 256
    after_turns = ask(api, "chat", messages=[*turn(1), *messages], options={"num_ctx": 256})
    assert after_turns["olm"]["dropped_messages"] == 2
    assert after_turns["olm"]["dropped_prompt_tokens"] > 300


def test_a_prompt_that_is_too_long_is_cut_and_that_is_told_in_the_last_line(api: Api) -> None:
    body = {"model": "smol", "prompt": LONG, "options": {**GREEDY, "num_ctx": 128}}
    lines = api.post("/api/generate", {**body, "raw": True}).lines
    assert all("olm" not in line for line in lines[:-1])
    assert lines[-1]["olm"]["dropped_prompt_tokens"] > 200
    assert ask(api, prompt=LONG, shift=False, options={"num_ctx": 128}, status=400)["error"]


def test_an_answer_goes_on_beyond_the_context(api: Api) -> None:
    long = ask(
        api, prompt="1, 2, 3,", raw=True, options={"num_ctx": 128, "num_predict": 300, "stop": []}
    )
    assert (long["eval_count"], long["done_reason"]) == (300, "length")
    assert long["olm"]["shifted_tokens"] > 150


# --- reproducible answers ----------------------------------------------------------------------


def test_a_reproducible_answer_is_the_same_whatever_was_asked_before(api: Api) -> None:
    options = {"temperature": 0.8, "seed": 5, "num_predict": 8, "reproducible": True}
    found, story = set(), LONG[:680]
    for before in (None, story[:100], story, story + "The fox", "something else"):
        if before is not None:
            ask(api, prompt=before, raw=True)
        answer = ask(api, prompt=story, raw=True, options=options, logprobs=True)
        assert "prompt_eval_cached_count" not in answer
        found.add((answer["response"], *(entry["logprob"] for entry in answer["logprobs"])))
    assert len(found) == 1
    # Without a seed of its own it has one all the same.
    unseeded = {**options, "seed": -1}
    answers = {ask(api, prompt="Once", options=unseeded)["response"] for _ in range(3)}
    assert len(answers) == 1


def test_what_is_no_flag_is_refused(api: Api) -> None:
    refused = ask(api, prompt="Hi", options={"reproducible": "yes"}, status=400)
    assert refused["error"] == 'option "reproducible" must be of type boolean'


# --- the daemon's own choice --------------------------------------------------------------------


@pytest.fixture(scope="module", params=["error", "truncate"])
def strict(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    environ = {"OLM_ON_OVERFLOW": request.param}
    with running_daemon(tmp_path_factory.mktemp("strict") / "home", environ=environ) as daemon:
        client = Api(daemon)
        client.create("smol", models.tiny_chat())
        client.create("minilm", models.minilm_gguf())
        client.overflow = request.param  # type: ignore[attr-defined]
        yield client


CALLS = {
    "chat": "/api/chat",
    "openai": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
}


@pytest.mark.parametrize("path", CALLS.values(), ids=CALLS)
def test_the_setting_decides_for_requests_that_do_not_say_it(strict: Api, path: str) -> None:
    options = {**GREEDY, "num_ctx": 256, "num_predict": 4}
    body = {"model": "smol", "options": options, "stream": False, "max_tokens": 4}
    body |= {"input" if path == "/v1/responses" else "messages": history(6)[1:]}
    answer = strict.post(path, body)
    if strict.overflow == "error":  # type: ignore[attr-defined]
        assert answer.status == 400
        assert "256 fit" in answer.body.decode()
        wish = {"truncation": "auto"} if path == "/v1/responses" else {"truncate": True}
        answer = strict.post(path, {**body, **wish})
    assert answer.status == 200, answer.body
    told = answer.json
    lost = told["choices"][0]["olm"] if "choices" in told else told["olm"]
    assert lost["dropped_messages"] > 0
    assert answer.headers["x-olm-truncated"].startswith("messages=")


def test_the_setting_decides_about_texts_and_answers_too(strict: Api) -> None:
    is_error = strict.overflow == "error"  # type: ignore[attr-defined]
    text: Any = {"prompt": LONG, "options": {"num_ctx": 128}}
    assert ask(strict, status=400, **text)["code"] == "context_exceeded"
    assert ask(strict, **text, truncate=True, shift=True)["olm"]["dropped_prompt_tokens"] > 200
    options = {"num_ctx": 32, "num_predict": 100}
    full = ask(strict, prompt="Count: 1, 2, 3,", raw=True, options=options)
    assert full["prompt_eval_count"] + full["eval_count"] == 32
    embedding = {
        "model": "minilm",
        "input": ["why is the sky blue", "a"],
        "options": {"num_ctx": 4},
    }
    assert strict.post("/api/embed", {**embedding, "options": {}}).status == 200
    answer = strict.post("/api/embed", embedding)
    assert answer.status == (400 if is_error else 200)
    cut = strict.post("/api/embed", {**embedding, "truncate": True})
    assert cut.json["olm"] == {"truncated_inputs": 1, "truncated_indices": [0]}
    assert cut.headers["x-olm-truncated"] == "inputs=1"
