"""`format` of /api/generate and /api/chat: JSON mode and schemas, over a real daemon."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support import models
from support.api import Answer, Api
from support.daemon import running_daemon
from support.jsonschema import problems

CITY = {
    "type": "object",
    "properties": {
        "zip": {"type": "integer", "minimum": 1, "maximum": 99999},
        "city": {"type": "string", "maxLength": 20},
        "climate": {"enum": ["mild", "süß", "🌧"]},
    },
    "required": ["zip", "city", "climate"],
    "additionalProperties": False,
}
OPTIONS = {"temperature": 0.8, "seed": 3, "num_predict": 300, "num_ctx": 2048}
PROMPT = "Describe the city of Paris as JSON."
MESSAGES = [{"role": "user", "content": PROMPT}]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_daemon(tmp_path_factory.mktemp("format") / "home") as daemon:
        client = Api(daemon)
        client.create("smol", models.smollm2())
        yield client


def generate(api: Api, **members: Any) -> Answer:
    body = {"model": "smol", "prompt": PROMPT, "stream": False, "options": OPTIONS, **members}
    return api.post("/api/generate", body)


def test_generate_keeps_a_schema(api: Api) -> None:
    reply = generate(api, format=CITY).json
    assert problems(json.loads(reply["response"]), CITY) == []
    assert reply["done_reason"] == "stop"


def test_a_schemas_own_order_of_properties_is_kept(api: Api) -> None:
    reply = generate(api, format=CITY).json
    assert list(json.loads(reply["response"])) == ["zip", "city", "climate"]


def test_generate_in_json_mode_answers_with_an_object(api: Api) -> None:
    prompt = 'Say hi as JSON, like {"hello": "world"}.'
    reply = generate(api, prompt=prompt, format="json").json
    assert isinstance(json.loads(reply["response"]), dict)
    assert reply["done_reason"] == "stop"


def test_raw_prompts_keep_a_schema_too(api: Api) -> None:
    reply = generate(api, raw=True, format=CITY).json
    assert problems(json.loads(reply["response"]), CITY) == []


def test_a_streamed_chat_keeps_a_schema(api: Api) -> None:
    body = {"model": "smol", "messages": MESSAGES, "format": CITY, "options": OPTIONS}
    lines = api.post("/api/chat", body).lines
    text = "".join(line["message"]["content"] for line in lines)
    assert problems(json.loads(text), CITY) == []
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1]["done_reason"] == "stop"
    whole = api.post("/api/chat", {**body, "stream": False}).json
    assert whole["message"]["content"] == text


def test_an_answer_that_is_cut_says_so(api: Api) -> None:
    reply = generate(api, format=CITY, options={**OPTIONS, "num_predict": 4}).json
    assert (reply["done_reason"], reply["eval_count"]) == ("length", 4)


@pytest.mark.parametrize("nothing", [None, ""])
def test_null_and_the_empty_string_ask_for_nothing(api: Api, nothing: Any) -> None:
    options = {**OPTIONS, "num_predict": 12}
    free = generate(api, options=options).json["response"]
    assert generate(api, format=nothing, options=options).json["response"] == free


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [("xml", r'"\"xml\""'), (True, '"true"'), (5, '"5"'), (["json"], r'"[\"json\"]"')],
)
def test_what_is_neither_json_nor_a_schema_is_refused(api: Api, wrong: Any, shown: str) -> None:
    text = f'invalid format: {shown}; expected "json" or a valid JSON Schema object'
    for path, rest in (("generate", {"prompt": "x"}), ("chat", {"messages": MESSAGES})):
        answer = api.post(f"/api/{path}", {"model": "smol", **rest, "format": wrong})
        assert (answer.status, answer.error) == (400, text)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"$ref": "https://example.com/x"}, "the reference 'https://example.com/x' at # leads"),
        ({"type": "quantity"}, "Invalid type: quantity"),
        ({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "no finite text fits it"),
    ],
)
def test_a_schema_that_cannot_be_kept_is_refused_with_its_reason(
    api: Api, stream: bool, schema: Any, reason: str
) -> None:
    for path, rest in (("generate", {"prompt": "x"}), ("chat", {"messages": MESSAGES})):
        body = {"model": "smol", **rest, "stream": stream, "format": schema}
        answer = api.post(f"/api/{path}", body)
        assert answer.status == 400
        assert answer.error.startswith(f"invalid JSON schema in format: {reason}")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["generate", "chat"])
def test_what_a_schema_is_not_held_to_is_told(api: Api, stream: bool, path: str) -> None:
    schema = {
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 5},
                     "uniqueItems": True, "maxItems": 2},
            "ä\n": {"type": "string", "format": "path", "maxLength": 5},
        },
        "required": ["tags", "ä\n"],
    }  # fmt: skip
    rest = {"prompt": PROMPT} if path == "generate" else {"messages": MESSAGES}
    body = {"model": "smol", **rest, "stream": stream, "format": schema, "options": OPTIONS}
    answer = api.post(f"/api/{path}", body)
    assert answer.status == 200, answer.body
    told = answer.headers["x-olm-schema-ignored"]
    assert told == (r'uniqueItems at #/properties/tags; format "path" at #/properties/\u00e4\n')
    kept = api.post(f"/api/{path}", {**body, "format": CITY})
    assert "x-olm-schema-ignored" not in kept.headers


EDGES = {
    "deep": b'{"items":' * 900 + b"{}" + b"}" * 900,
    "half a character": b'{"const":"\\ud800"}',
    "infinity": b'{"maximum":1e400}',
    "long": b'{"title":"%s"}' % (b"x" * 200_000),
}


@pytest.mark.parametrize("edge", EDGES)
def test_schemas_at_the_edge_of_json_break_nothing(api: Api, edge: str) -> None:
    body = b'{"model":"smol","prompt":"x","stream":false,"options":{"num_predict":1},"format":%s}'
    answer = api.post("/api/generate", body % EDGES[edge])
    assert answer.status in (200, 400), answer.body
    assert answer.status == 400 or edge in ("half a character", "infinity"), answer.body
    assert generate(api, format=CITY).status == 200
