"""What clients rely on and no client shows: texts of errors, defaults, ids, parts, broken streams.

Source: https://github.com/ollama/ollama/blob/v0.17.4/docs/api.md,
https://github.com/ollama/ollama/blob/v0.17.4/server/routes.go and
https://platform.openai.com/docs/api-reference
"""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from support import models
from support.api import Answer, Api
from support.daemon import running_daemon
from support.replyforms import check_form

THINKING = (
    "{{ range .Messages }}<|im_start|>{{ .Role }}\n"
    "{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}<|im_end|>\n"
    "{{ end }}<|im_start|>assistant\n{{ if .Think }}<think>\n{{ end }}"
)
TOOLS = (
    "{{ range .Tools }}{{ . }}{{ end }}{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}"
    '{{ range .ToolCalls }}<tool_call>{"name": "{{ .Function.Name }}", "arguments": '
    "{{ .Function.Arguments }}}</tool_call>{{ end }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
)
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
QUESTION = [{"role": "user", "content": "Name a colour."}]
SHORT = {"temperature": 0, "num_predict": 6}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_daemon(tmp_path_factory.mktemp("conformance") / "home") as daemon:
        api = Api(daemon)
        for path in ("/api/tags", "/api/ps"):
            assert api.get(path).json == {"models": []}
        assert api.get("/v1/models").json["data"] == []
        api.create("smol", models.smollm2(), parameters={"temperature": 0})
        api.create("thinker", parent="smol", template=THINKING)
        api.create("caller", parent="smol", template=TOOLS)
        api.create("minilm", models.minilm_gguf())
        yield api


def ask(api: Api, path: str, **members: Any) -> Answer:
    body: dict[str, Any] = {"model": "smol", "messages": QUESTION, **members}
    if path.startswith("/v1/"):
        body = {"max_tokens": 6} | body
    else:
        body = {"stream": False, "options": SHORT} | body
    return api.post(path, body)


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"think": 5}, 'think must be a boolean or string ("high", '),
        ({"keep_alive": "abc"}, 'time: invalid duration "abc"'),
        ({"keep_alive": "300"}, 'time: missing unit in duration "300"'),
        ({"keep_alive": True}, "Unsupported type: 'bool'"),
        ({"options": {"num_ctx": "big"}}, 'option "num_ctx" must be of type integer'),
        ({"options": {"use_mmap": 1}}, 'option "use_mmap" must be of type boolean'),
        ({"options": {"stop": [1]}}, 'option "stop" must be of an array of strings'),
        ({"messages": "x"}, "json: cannot unmarshal string into Go struct field "),
        ({"top_logprobs": 21}, "top_logprobs must be between 0 and 20"),
    ],
)
def test_wrong_members_are_refused_in_gos_words(
    api: Api, members: dict[str, Any], text: str
) -> None:
    answer = ask(api, "/api/chat", **members)
    assert answer.status == 400
    assert answer.error.startswith(text)


@pytest.mark.parametrize("member", ["system", "template", "context"])
def test_a_raw_prompt_takes_nothing_that_would_render_it(api: Api, member: str) -> None:
    given = [1] if member == "context" else "x"
    answer = ask(api, "/api/generate", prompt="x", raw=True, **{member: given})
    assert answer.status == 400
    assert answer.error == "raw mode does not support template, system, or context"


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"reasoning_effort": "bogus"}, 'invalid reasoning value: "bogus" (must be "minimal", '),
        ({"reasoning_effort": "low"}, '"smol" does not support thinking'),
        ({"messages": [{"role": "user", "content": None}]}, "invalid message content type: <nil>"),
        ({"messages": [{"role": "user", "content": 5}]}, "invalid message content type: float64"),
        ({"messages": [{"role": "user", "content": True}]}, "invalid message content type: bool"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs must be between 0 and 20"),
    ],
)
def test_openais_members_are_refused_in_ollamas_words(
    api: Api, members: dict[str, Any], text: str
) -> None:
    answer = ask(api, "/v1/chat/completions", **members)
    assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")
    assert answer.json["error"]["message"].startswith(text)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://127.0.0.1/x.png", "image URLs are not currently supported"),
        ("data:text/plain;base64,aGk=", "invalid image input"),
        (None, "invalid image input"),
    ],
)
def test_openais_images_come_inline_or_not_at_all(api: Api, url: str | None, text: str) -> None:
    parts = [{"type": "image_url", "image_url": {"url": url}}]
    messages = [{"role": "user", "content": parts}]
    answer = ask(api, "/v1/chat/completions", messages=messages)
    assert answer.status == 400
    assert answer.json["error"]["message"].startswith(text)


ADDRESSES = ("http://127.0.0.1:{port}/x.png", " HTTPS://example.org/x", "file:///etc/passwd")


def test_nobody_is_asked_for_an_image(api: Api) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for given in ADDRESSES:
            address = given.format(port=listener.getsockname()[1])
            source = {"type": "image", "source": {"type": "url", "url": address}}
            url = {"type": "image_url", "image_url": {"url": address}}
            item = {"type": "input_image", "image_url": address}
            for path, members in (
                ("/api/generate", {"prompt": "x", "images": [address]}),
                ("/api/chat", {"messages": [{"role": "user", "images": [address]}]}),
                ("/v1/chat/completions", {"messages": [{"role": "user", "content": [url]}]}),
                ("/v1/responses", {"input": [{"role": "user", "content": [item]}]}),
                ("/v1/messages", {"messages": [{"role": "user", "content": [source]}]}),
            ):
                answer = ask(api, path, **members)
                assert answer.status == 400, path
                told = answer.body.decode()
                assert "olm fetches nothing from an address that a request names" in told
                assert "image URLs are not" in told or "Only base64 images are supported" in told
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_images_of_the_native_api_are_base64_and_need_a_model_that_sees(api: Api) -> None:
    for path, place in (("/api/generate", {"prompt": "x"}), ("/api/chat", {})):

        def asked(image: str, path: str = path, place: dict[str, Any] = place) -> Any:
            turn = {"role": "user", "content": "x", "images": [image]}
            return ask(api, path, **place, images=[image], messages=[turn])

        broken = asked("aGk!")
        assert (broken.status, broken.error) == (400, "illegal base64 data at input byte 3")
        unseen = asked("aGk=")
        assert (unseen.status, unseen.json["code"]) == (400, "unsupported_capability")
        assert "does not support image" in unseen.error


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"type": "x"}, "input[0]: unknown input item type: "),
        ({"a": 1}, "input[0]: input item missing required 'type' field"),
        ({"role": "user", "content": [{"type": "input_file"}]}, "file inputs are not currently"),
    ],
)
def test_items_of_a_response_are_refused_by_their_place(
    api: Api, item: dict[str, Any], text: str
) -> None:
    answer = api.post("/v1/responses", {"model": "smol", "input": [item]})
    assert answer.status == 400
    assert answer.json["error"]["message"].startswith(text)


def test_head_is_answered_where_get_is_a_list(api: Api) -> None:
    for path in ("/", "/api/version", "/api/tags"):
        answer = api.ask("HEAD", path)
        assert (answer.status, answer.body) == (200, b""), path
    assert api.ask("HEAD", "/api/ps").status == 405


# --- thinking ---------------------------------------------------------------------------------


@pytest.mark.parametrize("think", [None, True, "low", "medium", "high", "max"])
def test_a_model_that_thinks_does_so_unless_it_is_told_not_to(api: Api, think: object) -> None:
    """Null is as good as absent."""
    message = ask(api, "/api/chat", model="thinker", think=think).json["message"]
    assert message["thinking"]
    quiet = ask(api, "/api/chat", model="thinker", think=False).json["message"]
    assert quiet["content"] and "thinking" not in quiet
    refused = ask(api, "/api/chat", model="thinker", think="bogus")
    assert refused.error.startswith('invalid think value: "bogus" (must be ')


def test_anthropics_clients_get_thoughts_only_where_they_ask(api: Api) -> None:
    (block,) = ask(api, "/v1/messages", model="thinker").json["content"]
    assert block["type"] == "text"
    thinking = {"type": "enabled", "budget_tokens": 3}
    blocks = ask(api, "/v1/messages", model="thinker", thinking=thinking).json["content"]
    assert blocks[0]["type"] == "thinking"
    (plain,) = ask(api, "/v1/messages", thinking=thinking).json["content"]
    assert plain["type"] == "text"  # a model that cannot think is no error here


def test_openais_clients_find_thoughts_under_both_names(api: Api) -> None:
    path = "/v1/chat/completions"
    message = ask(api, path, model="thinker").json["choices"][0]["message"]
    assert message["reasoning"] == message["reasoning_content"] != ""
    stream = ask(api, path, model="thinker", stream=True).body.decode()
    data = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data")]
    deltas = [json.loads(each)["choices"][0]["delta"] for each in data if each != "[DONE]"]
    for name in ("reasoning", "reasoning_content"):
        assert "".join(delta.get(name, "") for delta in deltas) == message["reasoning"]
    quiet = ask(api, path, model="thinker", reasoning_effort="none").json["choices"][0]["message"]
    assert quiet["content"] and "reasoning" not in quiet and "reasoning_content" not in quiet


def test_an_answer_that_goes_round_is_ended_and_says_so(api: Api) -> None:
    """One token over and over: the stream ends as any other does, with a reason of its own."""
    api.create("tiny", models.tiny_chat())
    (token,) = api.post("/api/tokenize", {"model": "tiny", "prompt": " sea"}).json["tokens"]
    stuck = {"num_predict": 1000, "logit_bias": {str(token): 100}, "temperature": 0}
    asked = {"model": "tiny", "options": stuck}
    *_, last = ask(api, "/api/generate", prompt="x", raw=True, stream=True, **asked).lines
    assert (last["done"], last["done_reason"]) == (True, "repeat")
    assert last["eval_count"] < 1000
    for path, members in (
        ("/v1/chat/completions", {"finish_reason": "length"}),
        ("/v1/completions", {"finish_reason": "length"}),
        ("/v1/messages", {"stop_reason": "max_tokens"}),
        ("/v1/responses", {"status": "incomplete"}),
    ):
        limit = {"max_tokens": 1000, "max_output_tokens": 1000}
        reply = ask(api, path, prompt="x", input="x", **limit, **asked).json
        assert members.items() <= (reply.get("choices") or [reply])[0].items(), path


# --- what OpenAI's API keeps of the model and of the request ----------------------------------


def test_a_models_own_temperature_holds_where_the_request_says_none(api: Api) -> None:
    texts = {
        ask(api, "/v1/chat/completions", seed=seed).json["choices"][0]["message"]["content"]
        for seed in (1, 2, 3)
    }
    assert len(texts) == 1


def test_options_and_keep_alive_go_through_every_api(api: Api) -> None:
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"):
        answer = ask(api, path, prompt="a", input="a", options={"num_ctx": 333}, keep_alive="7m")
        assert (answer.status, answer.headers["x-olm-context-length"]) == (200, "333"), path


def test_answers_have_ids_of_their_own(api: Api) -> None:
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"):
        found = [ask(api, path, prompt="a", input="a").json["id"] for _ in range(2)]
        assert found[0] != found[1]
        assert all(len(each) > 24 for each in found)


def test_no_chunk_of_a_stream_is_empty(api: Api) -> None:
    answer = ask(api, "/v1/chat/completions", stream=True, max_tokens=12)
    frames = [frame.removeprefix("data: ") for frame in answer.body.decode().split("\n\n") if frame]
    first, *chunks, end = [json.loads(frame)["choices"][0] for frame in frames[:-1]]
    assert first["delta"]["role"] == "assistant"
    assert all(chunk["delta"].get("content") for chunk in chunks)
    assert (end["delta"], end["finish_reason"]) == ({}, "length")


def test_parts_of_a_message_are_one_turn(api: Api) -> None:
    parts = [{"type": "text", "text": "Name"}, {"type": "text", "text": "a colour."}]

    def tokens(*contents: object) -> int:
        turns = [{"role": "user", "content": content} for content in contents]
        answer = ask(api, "/v1/chat/completions", messages=turns, max_tokens=1)
        return int(answer.json["usage"]["prompt_tokens"])

    assert tokens(parts) <= tokens("Name\na colour.") < tokens("Name", "a colour.")


# --- forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("/v1/chat/completions", {"logprobs": True, "top_logprobs": 2}),
        ("/v1/chat/completions", {"model": "thinker"}),
        ("/v1/completions", {"prompt": "a", "logprobs": 2}),
        ("/v1/embeddings", {"model": "minilm", "input": ["a", "b"]}),
        ("/v1/embeddings", {"model": "minilm", "input": "a", "encoding_format": "base64"}),
        ("/v1/responses", {"input": "a", "max_output_tokens": 4}),
        ("/v1/messages", {"model": "thinker", "thinking": {"type": "enabled"}}),
        ("/v1/messages/count_tokens", {}),
    ],
)
def test_replies_have_the_form_that_is_described_and_no_other_members(
    api: Api, path: str, members: dict[str, Any]
) -> None:
    answer = ask(api, path, **members)
    assert answer.status == 200, answer.body
    check_form("post", path, answer.json)


def test_lists_have_the_form_that_is_described_and_no_other_members(api: Api) -> None:
    check_form("get", "/v1/models", api.get("/v1/models").json)
    check_form("get", "/v1/models/{name}", api.get("/v1/models/smol").json)


def test_calls_have_the_form_that_is_described_and_no_other_members(api: Api) -> None:
    function = {"name": "weather", "parameters": CITY}
    wanted = {"model": "caller", "max_tokens": 60}
    answer = ask(
        api,
        "/v1/chat/completions",
        tools=[{"type": "function", "function": function}],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        **wanted,
    ).json
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    check_form("post", "/v1/chat/completions", answer)
    answer = ask(
        api,
        "/v1/messages",
        tools=[{"name": "weather", "input_schema": CITY}],
        tool_choice={"type": "tool", "name": "weather"},
        **wanted,
    ).json
    assert answer["content"][-1]["input"] == {"city": "Oslo"}
    check_form("post", "/v1/messages", answer)


# --- streams that break -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("/v1/completions", b'data: {"error":{'),
        ("/v1/responses", b"event: response.failed\n"),
    ],
)
def test_a_failure_in_midst_of_a_stream_is_told(api: Api, path: str, last: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api.daemon.port, timeout=120)
    endless = {"num_predict": 100_000, "stop": []}
    text = {"prompt": "Count: 1, 2, 3,", "input": "Count to a million."}
    body = {"model": "smol", "stream": True, "options": endless, **text}
    connection.request("POST", path, json.dumps(body))
    with closing(connection), connection.getresponse() as response:
        while b"delta" not in (line := response.readline()) and b'"text"' not in line:
            assert line
        for runner in api.daemon.runners():
            runner.kill()
        rest = response.read()
    assert last in rest
    assert b"[DONE]" not in rest and b"response.completed" not in rest
