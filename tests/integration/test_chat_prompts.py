"""The prompts that requests become, whole: `_debug_render_only` runs no model."""

from collections.abc import Iterator
from typing import Any

import pytest

from support import models
from support.api import Api
from support.daemon import running_daemon

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get <the> weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "minLength": 1}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
THINKING = (
    "{{ range .Messages }}[{{ .Role }}]{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}"
    "{{ .Content }}{{ end }}|{{ .Think }} {{ .ThinkLevel }} {{ .IsThinkSet }}"
)
INSERT = (
    "{{ if .Suffix }}<PRE> {{ .Prompt }} <SUF>{{ .Suffix }} <MID>{{ else }}{{ .Prompt }}{{ end }}"
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_daemon(tmp_path_factory.mktemp("prompts") / "home") as daemon:
        client = Api(daemon)
        client.create("qwen", models.qwen_coder())
        client.create("smol", models.smollm2())
        client.create("thinker", parent="smol", template=THINKING)
        client.create("inserter", parent="smol", template=INSERT)
        yield client


def prompt(api: Api, path: str = "chat", **members: Any) -> str:
    answer = api.post(f"/api/{path}", {"_debug_render_only": True, **members})
    assert answer.status == 200, answer.body
    assert api.running() == []
    return str(answer.json["_debug_info"]["rendered_template"])


def test_tools_reach_the_template_with_every_keyword_of_their_schema(api: Api) -> None:
    assert "tools" in api.post("/api/show", {"model": "qwen"}).json["capabilities"]
    turns = [{"role": "user", "content": "Weather in Oslo?"}]
    text = prompt(api, model="qwen", messages=turns, tools=[TOOL])
    assert '"name": "get_weather", "description": "Get <the> weather"' in text
    assert '"minLength": 1' in text and '"additionalProperties": false' in text
    assert text.endswith("<|im_start|>user\nWeather in Oslo?<|im_end|>\n<|im_start|>assistant\n")


def test_calls_of_tools_and_their_results_reach_the_template(api: Api) -> None:
    call = {"function": {"name": "get_weather", "arguments": {"city": "Oslo", "a": 1}}}
    turns = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "get_weather", "content": "4 °C"},
    ]
    text = prompt(api, model="qwen", messages=turns, tools=[TOOL])
    assert '{"name": "get_weather", "arguments": {"city": "Oslo", "a": 1}}' in text
    assert "<tool_response>\n4 °C\n</tool_response>" in text


def test_a_thinking_model_thinks_unless_told_not_to(api: Api) -> None:
    assert "thinking" in api.post("/api/show", {"model": "thinker"}).json["capabilities"]
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "thinking": "hm"},
        {"role": "user", "content": "c"},
    ]
    begun = "[user]a[assistant]<think>hm</think>b[user]c|"
    for think, tail in (
        (None, "true medium true"),
        (True, "true medium true"),
        (False, "false  true"),
        ("low", "true low true"),
        ("high", "true high true"),
    ):
        assert prompt(api, model="thinker", messages=turns, think=think) == begun + tail
    bogus = api.post("/api/chat", {"model": "thinker", "messages": turns, "think": "bogus"})
    assert bogus.status == 400 and bogus.error.startswith('invalid think value: "bogus"')


def test_go_templates_of_the_first_thinking_models_never_see_old_thoughts(api: Api) -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nb"},
        {"role": "user", "content": "c"},
    ]
    api.create("deepseek-r1", parent="thinker")
    begun = "[user]a[assistant]b[user]c|"
    assert prompt(api, model="deepseek-r1", messages=turns, think=False).startswith(begun)
    assert "hm" in prompt(api, model="thinker", messages=turns, think=False)


def test_a_suffix_takes_the_template_for_insertion(api: Api) -> None:
    assert "insert" in api.post("/api/show", {"model": "inserter"}).json["capabilities"]
    text = prompt(api, "generate", model="inserter", prompt="def add(", suffix="return x")
    assert text == "<PRE> def add( <SUF>return x <MID>"
    assert prompt(api, model="inserter", messages=[{"role": "user", "content": "hi"}]) == "hi"


def test_show_tells_the_template_that_is_used(api: Api) -> None:
    assert api.post("/api/show", {"model": "thinker"}).json["template"] == THINKING
    assert ".Suffix" in api.post("/api/show", {"model": "inserter"}).json["template"]
    assert "{%- if tools %}" in api.post("/api/show", {"model": "qwen"}).json["template"]


def test_listings_and_show_agree_on_capabilities(api: Api) -> None:
    for model in api.get("/api/tags").json["models"]:
        shown = api.post("/api/show", {"model": model["name"]}).json
        assert shown["capabilities"] == model["capabilities"]


def test_a_template_that_refuses_is_heard(api: Api) -> None:
    api.create("strict", parent="smol", template="{{ index .Messages 5 }}")
    body = {"model": "strict", "messages": [{"role": "user", "content": "x"}]}
    answer = api.post("/api/chat", body)
    assert answer.status == 500
    assert answer.error.startswith("template: :1:") and "index out of range: 5" in answer.error
