"""The order of a stream's events in each API, where an answer is a thought, a text or calls."""

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest

from support.api import Api
from support.daemon import running_daemon
from support.models import qwen_coder, tiny_speaker

THINKING = (
    "{{ range .Messages }}<|im_start|>{{ .Role }}\n"
    "{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}<|im_end|>\n"
    "{{ end }}<|im_start|>assistant\n{{ if .Think }}<think>\n{{ end }}"
)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = "What is the weather in Paris? Use the tool."


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    made = tmp_path_factory.mktemp("events")
    speaker = tiny_speaker(made / "speaker.gguf", ("get_weather", {"city": "Paris"}))
    with running_daemon(made / "home") as daemon:
        api = Api(daemon)
        cold = {"temperature": 0, "num_predict": 40}
        api.create("qwen", qwen_coder(), parameters=cold)
        api.create("speaker", speaker, parameters=cold)
        api.create("thinker", parent="speaker", template=THINKING)
        yield api


def events(api: Api, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The data of a stream's events, whose names they carry."""
    answer = api.post(path, {"stream": True, **body})
    assert answer.status == 200, answer.body
    found = []
    for frame in filter(None, answer.body.decode().split("\n\n")):
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def order(found: list[dict[str, Any]], kind: str = "type") -> list[str]:
    """The kinds of events in their order, each once where several follow one another."""
    return [name for name, _ in groupby(event[kind] for event in found)]


def message(**members: Any) -> dict[str, Any]:
    return {
        "model": "speaker",
        "max_tokens": 40,
        "messages": [{"role": "user", "content": WEATHER}],
        **members,
    }


def test_anthropic_a_thought_is_closed_and_signed_before_the_text(api: Api) -> None:
    thinking = {"type": "enabled", "budget_tokens": 5}
    found = events(api, "/v1/messages", message(model="thinker", thinking=thinking))
    assert order(found) == [
        "message_start",
        *("content_block_start", "content_block_delta", "content_block_stop") * 2,
        "message_delta",
        "message_stop",
    ]
    starts = [event for event in found if event["type"] == "content_block_start"]
    assert [start["index"] for start in starts] == [0, 1]
    assert [start["content_block"]["type"] for start in starts] == ["thinking", "text"]
    deltas = [event["delta"] for event in found if event["type"] == "content_block_delta"]
    assert order(deltas) == ["thinking_delta", "signature_delta", "text_delta"]


def test_anthropic_a_call_is_a_block_that_ends_the_turn(api: Api) -> None:
    tools = [{"name": "get_weather", "description": "The weather", "input_schema": SCHEMA}]
    choice = {"type": "any", "disable_parallel_tool_use": True}
    found = events(api, "/v1/messages", message(tools=tools, tool_choice=choice))
    assert order(found) == [
        "message_start",
        *("content_block_start", "content_block_delta", "content_block_stop"),
        "message_delta",
        "message_stop",
    ]
    block = found[1]["content_block"]
    assert (block["type"], block["name"], block["input"]) == ("tool_use", "get_weather", {})
    written = "".join(e["delta"]["partial_json"] for e in found if "partial_json" in str(e))
    assert set(json.loads(written)) == {"city"}
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


def test_openai_a_thought_is_an_item_before_the_message(api: Api) -> None:
    body = {"model": "thinker", "input": "Is water wet?", "reasoning": {"effort": "low"}}
    found = events(api, "/v1/responses", body | {"options": {"num_predict": 200}})
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    kinds = order(found)
    thought = [
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
    ]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[2:8] == thought
    (first, *_) = found[-1]["response"]["output"]
    assert (first["type"], bool(first["encrypted_content"])) == ("reasoning", True)


CALL = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
    "response.completed",
]
FUNCTION = {"type": "function", "name": "get_weather", "parameters": SCHEMA}


def response(**members: Any) -> dict[str, Any]:
    return {
        "model": "speaker",
        "input": WEATHER,
        "parallel_tool_calls": False,
        "tool_choice": "required",
        **members,
    }


def test_openai_a_call_is_an_item(api: Api) -> None:
    found = events(api, "/v1/responses", response(tools=[FUNCTION]))
    assert order(found) == CALL
    (item,) = found[-1]["response"]["output"]
    assert item["name"] == "get_weather" and "namespace" not in item


def test_openai_a_function_in_a_namespace_is_called_by_both_names(api: Api) -> None:
    """As Codex declares its tools, beside a search that only OpenAI's servers have."""
    namespace = {"type": "namespace", "name": "world", "description": "d", "tools": [FUNCTION]}
    body = response(tools=[namespace, {"type": "web_search", "external_web_access": True}])
    answer = api.post("/v1/responses", body)
    assert answer.headers["x-olm-tools-ignored"] == "web_search"
    assert answer.json["tools"] == [namespace]
    (item,) = answer.json["output"]
    assert (item["namespace"], item["name"]) == ("world", "get_weather")
    assert order(events(api, "/v1/responses", body)) == CALL
    result = {"type": "function_call_output", "call_id": item["call_id"], "output": "snow"}
    turns = [{"role": "user", "content": WEATHER}, item, result]
    answered = api.post(
        "/v1/responses", body | {"input": turns, "tool_choice": "none", "model": "qwen"}
    )
    (told,) = answered.json["output"]
    assert "snow" in told["content"][0]["text"].lower()


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ({"type": "mcp", "server_label": "x"}, "tools of type 'mcp' are not supported"),
        ({"type": ["mcp"]}, "tools of type ['mcp'] are not supported"),
        ({"type": "namespace", "name": "n"}, "a namespace needs a name and a list of tools"),
        (
            {"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "c"}]},
            "the namespace n has a tool that is no function",
        ),
        ({"type": "namespace", "name": "n", "tools": [{"name": ""}]}, "a tool has no name"),
    ],
)
def test_openai_tools_that_cannot_be_called_are_refused(
    api: Api, tool: dict[str, Any], words: str
) -> None:
    answer = api.post("/v1/responses", {"model": "speaker", "input": "x", "tools": [tool]})
    assert answer.status == 400
    assert words in answer.json["error"]["message"]
