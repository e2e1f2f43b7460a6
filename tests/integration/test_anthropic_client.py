"""The real Anthropic SDK against the daemon, and what it does not show on the wire."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import anthropic
import pytest

from support import models
from support.api import Api
from support.daemon import running_daemon, wait_until

QUESTION = [{"role": "user", "content": "Write a long story about the sea."}]
GREEDY: dict[str, Any] = {"model": "smol", "max_tokens": 8}
COLD = {"extra_body": {"temperature": 0}}
"""The SDK has no parameter for it any more; the API keeps it."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_daemon(tmp_path_factory.mktemp("anthropic") / "home") as daemon:
        api = Api(daemon)
        api.create("smol", models.smollm2())
        yield api


@pytest.fixture(scope="module")
def client(api: Api) -> Iterator[Any]:
    with anthropic.Anthropic(base_url=api.daemon.url, api_key="none", max_retries=0) as client:
        yield client


def events(body: bytes) -> list[Any]:
    """The objects of an event stream, whose names they carry."""
    found = []
    for frame in filter(None, body.split(b"\n\n")):
        name, data = frame.split(b"\n")
        value = json.loads(data.removeprefix(b"data: "))
        assert name.removeprefix(b"event: ").decode() == value["type"]
        found.append(value)
    return found


def test_a_message(client: Any) -> None:
    wanted = GREEDY | {"max_tokens": 2}
    message = client.messages.create(messages=QUESTION, system="Be brief.", **wanted, **COLD)
    (block,) = message.content
    assert (block.type, message.role, message.stop_reason) == ("text", "assistant", "max_tokens")
    assert block.text
    assert message.usage.output_tokens == 2
    assert message.usage.input_tokens + message.usage.cache_read_input_tokens > 8


def test_a_stream_gives_the_same_message(client: Any) -> None:
    whole = client.messages.create(messages=QUESTION, **GREEDY, **COLD)
    with client.messages.stream(messages=QUESTION, **GREEDY, **COLD) as stream:
        assert "".join(stream.text_stream) == whole.content[0].text
        assert stream.get_final_message().stop_reason == "max_tokens"


def test_models_are_listed_and_shown(client: Any) -> None:
    (listed,) = client.models.list()
    shown = client.models.retrieve("smol:latest")
    assert (listed.id, listed.type, listed.display_name) == ("smol:latest", "model", "smol:latest")
    assert shown.created_at == listed.created_at
    with pytest.raises(anthropic.NotFoundError, match="model 'nonesuch' not found"):
        client.models.retrieve("nonesuch")


def test_an_answer_in_json(client: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    message = client.messages.create(
        messages=QUESTION, output_config=wanted, **GREEDY | {"max_tokens": 40}
    )
    assert json.loads(message.content[0].text)["colour"] in ("red", "blue")


def test_an_answer_that_is_left_is_ended(api: Api, client: Any) -> None:
    before = api.cancelled()
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 10_000}
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    with client.messages.stream(
        messages=QUESTION, output_config=wanted, **GREEDY | {"max_tokens": 100_000}
    ) as stream:
        assert next(iter(stream.text_stream))
    wait_until(lambda: api.cancelled() == before + 1, timeout_s=60, what="the end of the answer")


def test_the_order_of_events(api: Api) -> None:
    answer = api.ask(
        "POST", "/v1/messages?beta=true", {"messages": QUESTION, "stream": True, **GREEDY}
    )
    told = events(answer.body)
    kinds = [event["type"] for event in told]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert told[1]["content_block"] == {"type": "text", "text": ""}
    assert told[-2]["delta"]["stop_reason"] == "max_tokens"


def test_a_stream_tells_the_length_of_the_prompt_first(api: Api) -> None:
    long = [{"role": "user", "content": "Count: " + "one two three " * 20}]
    body = {"model": "smol", "max_tokens": 2, "messages": long, "stream": True}
    counted = api.post("/v1/messages/count_tokens", body).json["input_tokens"]
    for is_cached in (False, True):
        told = events(api.post("/v1/messages", body).body)
        first = told[0]["message"]["usage"]
        assert first["input_tokens"] + first["cache_read_input_tokens"] == counted
        assert (first["cache_read_input_tokens"] > counted - 9) is is_cached
        assert told[-2]["usage"] == first | {"output_tokens": 2}


def test_a_stop_sequence_is_told(client: Any) -> None:
    wanted = GREEDY | {"max_tokens": 64}
    whole = client.messages.create(messages=QUESTION, **wanted, **COLD)
    word = whole.content[0].text.split()[2]
    cut = client.messages.create(messages=QUESTION, stop_sequences=[word], **wanted, **COLD)
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", word)
    assert word not in cut.content[0].text


def test_blocks_and_cache_marks_are_taken(client: Any) -> None:
    mark = {"type": "ephemeral"}
    message = client.messages.create(
        system=[{"type": "text", "text": "Be brief.", "cache_control": mark}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Hi.", "cache_control": mark}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "olm-1"},
                    {"type": "text", "text": "Hello."},
                ],
            },
            {"role": "user", "content": "Name a colour."},
        ],
        **GREEDY,
    )
    assert message.content[0].text


def test_tokens_are_counted_as_the_model_gets_them(client: Any) -> None:
    counted = client.messages.count_tokens(model="smol", messages=QUESTION)
    message = client.messages.create(messages=QUESTION, **GREEDY, **COLD)
    usage = message.usage
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


@pytest.mark.parametrize(
    ("body", "status", "type_", "words"),
    [
        (
            {"max_tokens": 1, "messages": QUESTION},
            400,
            "invalid_request_error",
            "model is required",
        ),
        ({"model": "smol", "messages": QUESTION}, 400, "invalid_request_error", "max_tokens"),
        ({"model": "smol", "max_tokens": 1}, 400, "invalid_request_error", "messages is required"),
        (
            {"model": "nonesuch", "max_tokens": 1, "messages": QUESTION},
            404,
            "not_found_error",
            "not found",
        ),
        (
            {
                "model": "smol",
                "max_tokens": 1,
                "messages": [{"role": "user", "content": [{"type": "document"}]}],
            },
            400,
            "invalid_request_error",
            "messages[0].content[0]",
        ),
    ],
)
def test_errors_have_anthropics_form(
    api: Api, body: dict[str, Any], status: int, type_: str, words: str
) -> None:
    answer = api.ask("POST", "/v1/messages", body)
    assert (answer.status, answer.json["type"]) == (status, "error")
    assert answer.json["error"]["type"] == type_
    assert words in answer.json["error"]["message"]
    assert answer.json["request_id"].startswith("req_")


def test_a_failure_in_midst_of_a_stream_is_an_event(api: Api) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api.daemon.port, timeout=60)
    body = {"messages": QUESTION, "stream": True, **GREEDY, "max_tokens": 4000}
    connection.request("POST", "/v1/messages", json.dumps(body))
    with closing(connection), connection.getresponse() as response:
        name = response.readline()
        for runner in api.daemon.runners():
            runner.kill()
        last = events(name + response.read())[-1]
    assert (last["type"], last["error"]["type"]) == ("error", "api_error")
