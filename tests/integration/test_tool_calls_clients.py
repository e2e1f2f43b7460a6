"""Tools through the real clients, on a real model that was trained for them."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from support import models
from support.api import Api
from support.daemon import running_daemon

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
QUESTION = "What will the weather be in Paris for the next 3 days? Use the tool."
FUNCTION = {"name": "forecast", "description": "The weather of a city", "parameters": SCHEMA}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_daemon(tmp_path_factory.mktemp("tools") / "home") as daemon:
        Api(daemon).create("qwen", models.qwen_coder())
        yield daemon.url


@pytest.fixture(scope="module")
def chatgpt(url: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def claude(url: str) -> Iterator[Any]:
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def test_openai_a_required_call_has_the_arguments_of_the_schema(chatgpt: Any) -> None:
    wanted: dict[str, Any] = {
        "model": "qwen",
        "messages": [{"role": "user", "content": QUESTION}],
        "tools": [{"type": "function", "function": FUNCTION}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "temperature": 0,
    }
    whole = chatgpt.chat.completions.create(**wanted)
    (choice,) = whole.choices
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, call.function.name) == ("tool_calls", "forecast")
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "days"} and isinstance(arguments["days"], int)

    pieces = list(chatgpt.chat.completions.create(**wanted, stream=True))
    deltas = [call for piece in pieces for call in (piece.choices[0].delta.tool_calls or ())]
    assert deltas[0].id and deltas[0].function.name == "forecast"
    assert all(delta.index == 0 for delta in deltas)
    assert len(deltas) > 2, "the arguments come in pieces"
    joined = "".join(delta.function.arguments or "" for delta in deltas)
    assert json.loads(joined) == arguments
    assert pieces[-1].choices[0].finish_reason == "tool_calls"


def test_openai_the_result_of_a_call_is_answered(chatgpt: Any) -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "forecast", "arguments": '{"city": "Paris", "days": 3}'},
    }
    whole = chatgpt.chat.completions.create(
        model="qwen",
        messages=[
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": '{"weather": "snow"}'},
        ],
        tools=[{"type": "function", "function": FUNCTION}],
        tool_choice="none",
        temperature=0,
        max_tokens=60,
    )
    assert "snow" in whole.choices[0].message.content.lower()
    assert not whole.choices[0].message.tool_calls


def test_openai_responses_tell_of_a_call_as_an_item(chatgpt: Any) -> None:
    wanted: dict[str, Any] = {
        "model": "qwen",
        "input": QUESTION,
        "tools": [{"type": "function", **FUNCTION}],
        "tool_choice": {"type": "function", "name": "forecast"},
        "parallel_tool_calls": False,
        "temperature": 0,
    }
    whole = chatgpt.responses.create(**wanted)
    (item,) = whole.output
    assert (item.type, item.name, item.status) == ("function_call", "forecast", "completed")
    assert json.loads(item.arguments)["city"]
    events = list(chatgpt.responses.create(**wanted, stream=True))
    deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == item.arguments
    assert events[-1].response.output[0].arguments == item.arguments
    answered = chatgpt.responses.create(
        model="qwen",
        input=[
            {"role": "user", "content": QUESTION},
            item.model_dump(),
            {"type": "function_call_output", "call_id": item.call_id, "output": "snow"},
        ],
        temperature=0,
        max_output_tokens=60,
    )
    assert "snow" in answered.output_text.lower()


def test_anthropic_a_call_is_a_block_whose_input_comes_in_pieces(claude: Any) -> None:
    wanted: dict[str, Any] = {
        "model": "qwen",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": QUESTION}],
        "tools": [
            {"name": "forecast", "description": "The weather of a city", "input_schema": SCHEMA}
        ],
        "tool_choice": {"type": "tool", "name": "forecast", "disable_parallel_tool_use": True},
        "extra_body": {"temperature": 0},
    }
    whole = claude.messages.create(**wanted)
    (block,) = whole.content
    assert (whole.stop_reason, block.type, block.name) == ("tool_use", "tool_use", "forecast")
    assert set(block.input) == {"city", "days"}
    with claude.messages.stream(**wanted) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert final.content[0].input == block.input
    assert kinds.count("input_json") > 2
    answered = claude.messages.create(
        model="qwen",
        max_tokens=60,
        messages=[
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": [block.model_dump()]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "snow"}],
            },
        ],
        extra_body={"temperature": 0},
    )
    assert "snow" in answered.content[0].text.lower()
