"""The real openai-python against the daemon, and what it does not show on the wire."""

import base64
import http.client
import json
from array import array
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import openai
import pytest

from support import models
from support.api import Api
from support.daemon import running_daemon, wait_until

QUESTION = [{"role": "user", "content": "Write a long story about the sea."}]
GREEDY: dict[str, Any] = {"temperature": 0, "seed": 1, "max_tokens": 8}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_daemon(tmp_path_factory.mktemp("openai") / "home") as daemon:
        api = Api(daemon)
        api.create("smol", models.smollm2())
        api.create("team/minilm", models.minilm_gguf())
        yield api


@pytest.fixture(scope="module")
def client(api: Api) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{api.daemon.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def frames(body: bytes) -> list[Any]:
    """The objects of an event stream; the mark of its end as text."""
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line]
    return [line.decode() if line == b"[DONE]" else json.loads(line) for line in lines]


def test_chat(client: Any) -> None:
    whole = client.chat.completions.create(model="smol", messages=QUESTION, **GREEDY)
    pieces = list(
        client.chat.completions.create(model="smol", messages=QUESTION, stream=True, **GREEDY)
    )
    (choice,) = whole.choices
    assert "".join(p.choices[0].delta.content or "" for p in pieces) == choice.message.content != ""
    assert choice.message.role == "assistant"
    assert (choice.finish_reason, pieces[-1].choices[0].finish_reason) == ("length", "length")
    assert whole.usage.completion_tokens == 8
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 8
    assert whole.usage.prompt_tokens_details.cached_tokens >= 0


def test_max_completion_tokens_bounds_the_answer(client: Any) -> None:
    whole = client.chat.completions.create(
        model="smol", messages=QUESTION, max_completion_tokens=3, temperature=0
    )
    assert (whole.usage.completion_tokens, whole.choices[0].finish_reason) == (3, "length")


def test_the_role_comes_once_and_usage_last(api: Api) -> None:
    body = {
        "model": "smol",
        "messages": QUESTION,
        "stream": True,
        "stream_options": {"include_usage": True},
        **GREEDY,
    }
    answer = api.ask("POST", "/v1/chat/completions", body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *chunks, end, usage, done = frames(answer.body)
    assert done == "[DONE]"
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 8)
    assert end["choices"][0]["delta"] == {}
    assert [i for i, c in enumerate(chunks) if "role" in c["choices"][0]["delta"]] == [0]
    assert len({chunk["id"] for chunk in (*chunks, end, usage)}) == 1
    assert not any("usage" in chunk for chunk in (*chunks, end))


def test_several_answers_differ_by_their_seed_and_come_side_by_side(client: Any) -> None:
    wanted: dict[str, Any] = {"model": "smol", "messages": QUESTION, "max_tokens": 8, "n": 3}
    whole = client.chat.completions.create(**wanted, seed=7, temperature=1.5)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in whole.choices}) > 1
    assert whole.usage.completion_tokens <= 24
    pieces = list(client.chat.completions.create(**wanted, seed=7, temperature=1.5, stream=True))
    ends = [p.choices[0].index for p in pieces if p.choices[0].finish_reason]
    assert sorted(ends) == [0, 1, 2]


def test_a_bias_forbids_a_token_in_every_api(api: Api, client: Any) -> None:
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Say yes."}]}
    usual = client.chat.completions.create(
        model="smol", **asked, logprobs=True, temperature=0, max_tokens=1
    )
    word = usual.choices[0].message.content
    tokens = api.post("/api/tokenize", {"model": "smol", "prompt": word}).json["tokens"]
    bias = dict.fromkeys(map(str, tokens), -100)
    other = client.chat.completions.create(
        model="smol", **asked, temperature=0, max_tokens=1, logit_bias=bias
    )
    options = {"temperature": 0, "num_predict": 1, "logit_bias": bias}
    body = {"model": "smol", **asked, "stream": False, "options": options}
    native = api.post("/api/chat", body).json["message"]["content"]
    assert other.choices[0].message.content == native != word


@pytest.mark.parametrize(
    "bias", [{"x": 1}, {"-1": 1}, {"1": 101}, {"1": "much"}, {"1": True}, {"49152": 1}, [1]]
)
def test_a_bias_that_is_none_is_refused(api: Api, bias: Any) -> None:
    answer = api.post(
        "/v1/chat/completions", {"model": "smol", "messages": QUESTION, "logit_bias": bias}
    )
    assert answer.status == 400
    assert "logit_bias" in answer.json["error"]["message"]


def test_logprobs_of_tokens_and_their_rivals(client: Any) -> None:
    whole = client.chat.completions.create(
        model="smol", messages=QUESTION, logprobs=True, top_logprobs=2, **GREEDY
    )
    entries = whole.choices[0].logprobs.content
    assert "".join(entry.token for entry in entries).startswith(whole.choices[0].message.content)
    assert all(len(entry.top_logprobs) == 2 for entry in entries)
    assert all(entry.logprob <= 0 for entry in entries)


def test_an_answer_in_json(client: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    whole = client.chat.completions.create(
        model="smol",
        messages=QUESTION,
        response_format={"type": "json_schema", "json_schema": {"name": "c", "schema": schema}},
        temperature=0,
    )
    assert json.loads(whole.choices[0].message.content)["colour"] in ("red", "blue")


def test_an_answer_that_is_left_is_ended(api: Api, client: Any) -> None:
    before = api.cancelled()
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 10_000}
    wanted = {"type": "json_schema", "json_schema": {"name": "c", "schema": schema}}
    with client.chat.completions.create(
        model="smol", messages=QUESTION, response_format=wanted, stream=True
    ) as stream:
        assert next(iter(stream)).choices
    wait_until(lambda: api.cancelled() == before + 1, timeout_s=60, what="the end of the answer")


def test_a_completion_goes_on_with_the_prompt_as_it_stands(client: Any) -> None:
    whole = client.completions.create(model="smol", prompt="1 2 3 4", max_tokens=6, temperature=0)
    assert "5" in whole.choices[0].text
    echoed = client.completions.create(
        model="smol", prompt="1 2 3 4", max_tokens=6, temperature=0, echo=True
    )
    assert echoed.choices[0].text == "1 2 3 4" + whole.choices[0].text
    pieces = list(
        client.completions.create(
            model="smol", prompt="1 2 3 4", max_tokens=6, temperature=0, stream=True
        )
    )
    assert "".join(piece.choices[0].text for piece in pieces) == whole.choices[0].text


def test_completions_of_several_prompts_and_of_tokens(api: Api, client: Any) -> None:
    tokens = api.ask("POST", "/api/tokenize", {"model": "smol", "prompt": "1 2 3 4"}).json["tokens"]
    same: dict[str, Any] = {"model": "smol", "max_tokens": 4, "temperature": 0}
    texts = client.completions.create(prompt=["1 2 3 4", "a b c d"], **same).choices
    assert [choice.index for choice in texts] == [0, 1]
    (of_tokens,) = client.completions.create(prompt=tokens, **same).choices
    assert of_tokens.text == texts[0].text


def test_completions_tell_logprobs(client: Any) -> None:
    whole = client.completions.create(
        model="smol", prompt="1 2 3 4", max_tokens=3, temperature=0, logprobs=2
    )
    told = whole.choices[0].logprobs
    assert "".join(told.tokens).startswith(whole.choices[0].text)
    assert [len(rivals) for rivals in told.top_logprobs] == [2] * len(told.tokens)
    assert told.text_offset[0] == 0


def test_embeddings_in_both_encodings(api: Api, client: Any) -> None:
    name = "team/minilm"
    two = client.embeddings.create(model=name, input=["a", "b"], encoding_format="float")
    assert [len(item.embedding) for item in two.data] == [384, 384]
    body = {"model": name, "input": "a", "encoding_format": "base64"}
    packed = api.ask("POST", "/v1/embeddings", body).json["data"][0]["embedding"]
    assert array("f", base64.b64decode(packed)).tolist() == pytest.approx(
        two.data[0].embedding, abs=1e-6
    )
    for ids in ([101, 1037, 102], [1037]):  # with the tokens around a text, and without
        told = client.embeddings.create(model=name, input=ids, encoding_format="float")
        assert told.data[0].embedding == pytest.approx(two.data[0].embedding, abs=1e-5)
    wrong = api.ask("POST", "/v1/embeddings", body | {"encoding_format": "hex"})
    assert (wrong.status, wrong.json["error"]["message"]) == (
        400,
        "Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64'].",
    )
    short = client.embeddings.create(model=name, input="a", dimensions=10)
    assert len(short.data[0].embedding) == 10
    assert sum(x * x for x in short.data[0].embedding) == pytest.approx(1, abs=1e-5)


def test_models_are_listed_and_found_by_names_with_slashes(client: Any) -> None:
    assert {model.id for model in client.models.list()} >= {"smol:latest", "team/minilm:latest"}
    assert client.models.retrieve("team/minilm").id == "team/minilm"
    assert client.models.retrieve("smol").owned_by == "library"
    with pytest.raises(openai.NotFoundError, match="model 'nonesuch' not found"):
        client.models.retrieve("nonesuch")


def test_a_response_and_its_stream(client: Any) -> None:
    wanted: dict[str, Any] = {
        "model": "smol",
        "input": "Write a long story about the sea.",
        "temperature": 0,
    }
    whole = client.responses.create(**wanted, max_output_tokens=8)
    assert (whole.status, whole.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert whole.output_text
    assert [item.status for item in whole.output] == ["incomplete"]
    events = list(client.responses.create(**wanted, max_output_tokens=8, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [events[0].type, events[1].type] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.output_text == whole.output_text
    deltas = [e.delta for e in events if e.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text
    assert whole.usage.output_tokens == 8


def test_a_response_takes_earlier_items_and_refuses_what_needs_a_state(client: Any) -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Say one."}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "one"}],
        },
        {"role": "user", "content": "Say two."},
    ]
    done = client.responses.create(model="smol", input=items, instructions="Be brief.")
    assert done.status == "completed" and done.instructions == "Be brief."
    with pytest.raises(openai.BadRequestError, match="previous_response_id is not supported"):
        client.responses.create(model="smol", input="x", previous_response_id="resp_1")


@pytest.mark.parametrize(
    ("body", "status", "type_", "words"),
    [
        ({"model": "smol"}, 400, "invalid_request_error", "[] is too short - 'messages'"),
        ({"model": "nonesuch", "messages": QUESTION}, 404, "not_found_error", "not found"),
        (
            {"model": "smol", "messages": QUESTION, "tool_choice": "required"},
            400,
            "invalid_request_error",
            "none is offered",
        ),
        ({"model": "smol", "messages": QUESTION, "n": 99}, 400, "invalid_request_error", "n must"),
        (
            {"model": "smol", "messages": [{"role": "user", "content": [{"type": "video"}]}]},
            400,
            "invalid_request_error",
            "unsupported content part",
        ),
    ],
)
def test_errors_have_openais_form(
    api: Api, body: dict[str, Any], status: int, type_: str, words: str
) -> None:
    answer = api.ask("POST", "/v1/chat/completions", body)
    assert answer.status == status
    error = answer.json["error"]
    assert (error["type"], error["param"]) == (type_, None)
    assert words in error["message"]


def test_a_hosted_tool_is_refused_by_its_type(api: Api) -> None:
    tools = [{"type": "file_search"}]
    messages = {"messages": QUESTION, "max_tokens": 1}
    for path, body in (
        ("/v1/chat/completions", messages),
        ("/v1/responses", {"input": "x"}),
        ("/v1/messages", messages),
        ("/api/chat", {"messages": QUESTION}),
    ):
        answer = api.post(path, {"model": "smol", "tools": tools, **body})
        assert answer.status == 400
        assert "tools of type 'file_search' are not supported" in json.dumps(answer.json)


def test_an_endpoint_that_does_not_exist_names_those_that_do(api: Api) -> None:
    answer = api.ask("POST", "/v1/moderations", {})
    assert answer.status == 404
    assert "/v1/chat/completions" in answer.json["error"]["message"]
    assert "/v1/models/{name}," in answer.json["error"]["message"]


def test_a_failure_in_midst_of_a_stream_is_an_event(api: Api) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api.daemon.port, timeout=60)
    body = {"model": "smol", "messages": QUESTION, "stream": True, "max_tokens": 4000, "seed": 1}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    with closing(connection), connection.getresponse() as response:
        response.readline()
        for runner in api.daemon.runners():
            runner.kill()
        rest = response.read()
    assert b'data: {"error":{' in rest
    assert b"[DONE]" not in rest
