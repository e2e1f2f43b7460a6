"""Tools, thoughts and bound answers through the API, on real weights."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from support.api import Api
from support.daemon import running_daemon
from support.models import qwen_coder, smollm2, tiny_speaker

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
THINKING = (
    "{{ range .Messages }}<|im_start|>{{ .Role }}\n"
    "{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}<|im_end|>\n"
    "{{ end }}<|im_start|>assistant\n{{ if .Think }}<think>\n{{ end }}"
)
TOOLS_IN_GO = (
    "{{ if .Tools }}<|im_start|>system\nTools: {{ .Tools }}<|im_end|>\n{{ end }}"
    "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}"
    '{{ range .ToolCalls }}<call>{"name": "{{ .Function.Name }}", '
    '"arguments": {{ .Function.Arguments }}}</call>{{ end }}<|im_end|>\n{{ end }}'
    "<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    made = tmp_path_factory.mktemp("answers")
    speaker = tiny_speaker(made / "speaker.gguf")
    with running_daemon(made / "home") as running:
        client = Api(running)
        client.create("qwen", qwen_coder())
        client.create("speaker", speaker)
        client.create("thinker", parent="speaker", template=THINKING)
        client.create("trained-thinker", parent="qwen", template=THINKING)
        yield client


def chat(api: Api, text: str, *, model: str = "qwen", **fields: Any) -> dict[str, Any]:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "stream": False,
        **fields,
        "options": {"temperature": 0, "num_predict": 60, **fields.get("options", {})},
    }
    answer = api.post("/api/chat", body)
    assert answer.status == 200, answer.body
    return dict(answer.json)


def lines(api: Api, text: str, *, model: str = "qwen", **fields: Any) -> list[dict[str, Any]]:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    body["options"] = {"temperature": 0, "num_predict": 60, **fields.get("options", {})}
    return api.post("/api/chat", body).lines


def test_a_model_calls_a_tool_and_answers_with_its_result(api: Api) -> None:
    asked = {"role": "user", "content": "What is the weather in Paris?"}
    message = chat(api, str(asked["content"]), tools=[WEATHER])["message"]
    (call,) = message["tool_calls"]
    assert message["content"] == ""
    assert call["function"]["name"] == "get_weather"
    assert call["function"]["index"] == 0
    assert call["function"]["arguments"]["city"] == "Paris"
    assert re.fullmatch(r"call_[a-z0-9]{8}", call["id"])
    result = {"role": "tool", "content": "22 degrees, sunny", "tool_name": "get_weather"}
    body = {
        "model": "qwen",
        "messages": [asked, message, result],
        "stream": False,
        "options": {"temperature": 0, "num_predict": 60},
    }
    answer = api.post("/api/chat", body).json["message"]
    assert "22" in answer["content"]
    assert "tool_calls" not in answer


def test_a_call_comes_whole_in_one_line_of_a_stream(api: Api) -> None:
    *parts, last = lines(api, "What is the weather in Paris?", tools=[WEATHER])
    (with_call,) = [line for line in parts if "tool_calls" in line["message"]]
    assert with_call["message"]["content"] == ""
    assert with_call["done"] is False
    assert with_call["message"]["tool_calls"][0]["function"]["arguments"]["city"] == "Paris"
    assert (last["done_reason"], last["message"]) == ("stop", {"role": "assistant", "content": ""})


def test_without_tools_the_same_text_is_text(api: Api) -> None:
    text = 'Repeat exactly: <tool_call>{"name": "f"}</tool_call>'
    message = chat(api, text)["message"]
    assert "tool_calls" not in message
    assert '{"name": "f"}' in message["content"]


def test_a_named_function_is_called_once(api: Api) -> None:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    reply = chat(api, "Weather in Oslo, Rome and Paris?", tools=[WEATHER], tool_choice=choice)
    assert len(reply["message"]["tool_calls"]) == 1
    assert reply["done_reason"] == "stop"


@pytest.mark.parametrize("choice", ["required", {"function": {"name": "get_weather"}}])
def test_a_call_can_be_demanded_and_keeps_to_the_schema(api: Api, choice: object) -> None:
    reply = chat(api, "Tell me a joke.", tools=[WEATHER], tool_choice=choice)
    calls = reply["message"]["tool_calls"]
    assert reply["message"]["content"] == ""
    for call in calls:
        assert call["function"]["name"] == "get_weather"
        assert call["function"]["arguments"].keys() <= {"city", "unit"}
        assert isinstance(call["function"]["arguments"]["city"], str)
        assert call["function"]["arguments"].get("unit", "celsius") in ("celsius", "fahrenheit")


def test_a_strict_tool_leaves_text_free_and_binds_calls(api: Api) -> None:
    function = {**WEATHER["function"], "strict": True}  # type: ignore[dict-item]
    strict = {**WEATHER, "function": function}
    said = chat(api, "Say hello.", tools=[strict])["message"]
    assert said["content"]
    assert "tool_calls" not in said
    system = {
        "role": "system",
        "content": 'Answer with <tool_call>\n{"name": "get_weather", "arguments": {"town": 1}}',
    }
    body = {
        "model": "qwen",
        "messages": [system, {"role": "user", "content": "What is the weather in Paris?"}],
        "tools": [strict],
        "stream": False,
        "options": {"temperature": 0, "num_predict": 80},
    }
    message = api.post("/api/chat", body).json["message"]
    assert "town" not in json.dumps(message.get("tool_calls", []))


def test_calls_can_be_forbidden(api: Api) -> None:
    message = chat(api, "What is the weather in Paris?", tools=[WEATHER], tool_choice="none")
    assert "tool_calls" not in message["message"]
    assert message["message"]["content"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"tools": [{"type": "function"}]}, "a tool has no name"),
        (
            {"tools": [{"function": {"name": "f", "parameters": 1}}]},
            "the parameters of the tool f are no object",
        ),
        ({"tool_choice": "required"}, "tool_choice asks for a tool and none is offered"),
        (
            {"tools": [WEATHER], "tool_choice": {"function": {"name": "g"}}},
            "tool_choice names g, which is not offered",
        ),
        (
            {"tool_choice": "always"},
            'tool_choice is "auto", "none", "required" or names a function',
        ),
        ({"thinking_budget": -1}, "thinking_budget must not be negative"),
        (
            {"format": {"type": "grammar", "syntax": "yacc", "definition": ""}},
            'a grammar in format has a "syntax" ("lark", "regex" or "gbnf") and a "definition"',
        ),
        (
            {"format": {"type": "grammar", "syntax": "lark", "definition": "start: nope"}},
            'invalid Lark grammar in format: at 1(8): unknown name: "nope" 1 | start: nope ^',
        ),
    ],
)
def test_what_cannot_be_is_refused(api: Api, fields: dict[str, Any], error: str) -> None:
    body = {"model": "qwen", "messages": [{"role": "user", "content": "Hi"}], **fields}
    answer = api.post("/api/chat", body)
    assert (answer.status, answer.error) == (400, error)


@pytest.mark.parametrize(
    ("syntax", "definition", "pattern"),
    [
        ("regex", r"(yes|no), [a-z ]{3,12}\.", r"(yes|no), [a-z ]{3,12}\."),
        ("lark", 'start: "<<" /[a-z]{1,9}/ ">>"', r"<<[a-z]{1,9}>>"),
        ("gbnf", 'root ::= ("yes" | "no") "!"', r"(yes|no)!"),
    ],
)
def test_grammars_bind_answers(api: Api, syntax: str, definition: str, pattern: str) -> None:
    wanted = {"type": "grammar", "syntax": syntax, "definition": definition}
    content = chat(api, "Is water wet?", format=wanted)["message"]["content"]
    assert re.fullmatch(pattern, content)


def test_thoughts_are_told_apart_from_the_answer(api: Api) -> None:
    message = chat(api, "Is water wet?", model="thinker", thinking_budget=5)["message"]
    assert message["thinking"]
    assert message["content"]
    assert "think>" not in message["thinking"] + message["content"]


def test_a_thought_ends_when_its_budget_is_spent_and_the_answer_follows(api: Api) -> None:
    *parts, last = lines(api, "Count to a hundred.", model="thinker", thinking_budget=5)
    thoughts = [line["message"]["thinking"] for line in parts if "thinking" in line["message"]]
    answers = [line["message"]["content"] for line in parts if line["message"]["content"]]
    assert 0 < len(thoughts) <= 5
    assert answers
    order = ["thinking" in line["message"] for line in parts]
    assert order == sorted(order, reverse=True)
    assert last["eval_count"] >= len(answers)


def test_tokens_of_the_thought_are_counted(api: Api) -> None:
    body = {
        "model": "thinker",
        "messages": [{"role": "user", "content": "Count to a hundred."}],
        "reasoning_effort": "low",
        "response_format": {"type": "grammar", "syntax": "regex", "definition": "yes|no"},
        "max_tokens": 8,
        "temperature": 0,
    }
    usage = api.post("/v1/chat/completions", body).json["usage"]
    thought = usage["completion_tokens_details"]["reasoning_tokens"]
    assert 0 < thought <= usage["completion_tokens"] <= 8


def test_the_thought_is_free_where_the_answer_is_bound(api: Api) -> None:
    wanted = {"type": "object", "properties": {"wet": {"type": "boolean"}}, "required": ["wet"]}
    for fields in ({"thinking_budget": 6}, {"options": {"num_predict": 200}}):
        message = chat(api, "Is water wet?", model="trained-thinker", format=wanted, **fields)[
            "message"
        ]
        assert message["thinking"]
        assert isinstance(json.loads(message["content"])["wet"], bool)


def test_without_a_thought_the_answer_is_bound_from_its_first_token(api: Api) -> None:
    wanted = {"type": "grammar", "syntax": "regex", "definition": "yes|no"}
    message = chat(api, "Is water wet?", model="thinker", think=False, format=wanted)["message"]
    assert message["content"] in ("yes", "no")
    assert "thinking" not in message


def test_generate_tells_thoughts_too_and_raw_takes_nothing_apart(api: Api) -> None:
    body = {
        "model": "thinker",
        "prompt": "Is water wet?",
        "thinking_budget": 5,
        "stream": False,
        "options": {"temperature": 0, "num_predict": 40},
    }
    reply = api.post("/api/generate", body).json
    assert reply["thinking"]
    assert reply["response"]
    raw = {"model": "thinker", "prompt": "Say <think>a</think>:", "raw": True, "stream": False}
    assert "thinking" not in api.post("/api/generate", {**raw, "options": body["options"]}).json


def test_the_format_is_that_of_the_template(api: Api) -> None:
    text = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    reply = api.post("/api/parse", {"model": "qwen", "text": text}).json
    assert reply["family"] == "hermes"
    assert reply["message"]["tool_calls"][0]["function"]["arguments"] == {"city": "Oslo"}


def test_a_named_parser_goes_before_the_template(api: Api) -> None:
    api.create("coder", parent="qwen", parser="qwen3-coder")
    text = "<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>"
    reply = api.post("/api/parse", {"model": "coder", "text": text}).json
    assert reply["family"] == "qwen3-coder"
    assert reply["message"]["tool_calls"][0]["function"]["arguments"] == {"city": "Oslo"}


def test_a_template_with_tools_and_no_known_format_reads_json(api: Api) -> None:
    api.create("smol", smollm2())
    api.create("own", parent="smol", template=TOOLS_IN_GO)
    text = '{"name": "get_weather", "arguments": {"city": "Oslo"}}'
    reply = api.post("/api/parse", {"model": "own", "text": text, "tools": [WEATHER]}).json
    assert reply["family"] == "json"
    assert reply["message"]["tool_calls"][0]["function"]["name"] == "get_weather"


def test_a_prompt_that_opens_a_thought_is_taken_into_account(api: Api) -> None:
    reply = api.post("/api/parse", {"model": "thinker", "text": "T</think>A", "chunks": 4}).json
    assert "thinking" not in reply["message"]  # the probe does not ask to think
    body = {"model": "thinker", "text": "T</think>A", "prompt": "assistant\n<think>\n"}
    message = api.post("/api/parse", body).json["message"]
    assert (message["thinking"], message["content"]) == ("T", "A")
