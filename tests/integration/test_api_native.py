"""The native API over a real daemon with real models.

Source: https://github.com/ollama/ollama/blob/v0.17.4/docs/api.md
"""

import http.client
import json
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from support import models
from support.api import Api
from support.daemon import running_daemon, wait_until

GREEDY = {"temperature": 0, "seed": 1, "num_predict": 12}
QUESTION = [{"role": "user", "content": "Name a colour."}]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_daemon(tmp_path_factory.mktemp("api") / "home") as daemon:
        client = Api(daemon)
        client.create("smol", models.tiny_chat())
        client.create("trained", models.smollm2())
        client.create("gemma", models.gemma3())
        yield client


def generate(api: Api, **members: Any) -> Any:
    """The one object of a generation that is not streamed."""
    body = {"model": "smol", "stream": False, "options": GREEDY, **members}
    answer = api.post("/api/generate", body)
    assert answer.status == 200, answer.body
    return answer.json


def chat(api: Api, **members: Any) -> Any:
    body = {"model": "smol", "stream": False, "options": GREEDY, "messages": QUESTION, **members}
    answer = api.post("/api/chat", body)
    assert answer.status == 200, answer.body
    return answer.json


def test_signs_of_life(api: Api) -> None:
    root = api.get("/")
    assert (root.status, root.body) == (200, b"Ollama is running")
    assert root.headers["content-type"] == "text/plain; charset=utf-8"
    assert root.headers["server"].startswith("olm/")
    head = api.ask("HEAD", "/")
    assert (head.status, head.body) == (200, b"")
    version = api.get("/api/version").json
    assert set(version["olm"]) == {"version"}
    assert tuple(map(int, version["version"].split("."))) > (0, 6, 4)  # what clients ask for
    assert all(part.isdecimal() for part in version["version"].split("."))


def test_unknown_paths_wrong_methods_and_empty_bodies(api: Api) -> None:
    wrong = api.get("/api/show")
    assert (wrong.status, wrong.body) == (405, b"405 method not allowed")
    assert wrong.headers["allow"] == "POST"
    assert api.ask("HEAD", "/api/ps").status == 405
    missing = api.get("/nope")
    assert (missing.status, missing.body) == (404, b"404 page not found")
    assert missing.headers["content-type"].startswith("text/plain")
    moved = api.get("/api/tags/")
    assert (moved.status, moved.headers["location"]) == (301, "/api/tags")
    for path in ("chat", "generate", "embed", "show", "create", "pull", "copy"):
        empty = api.post(f"/api/{path}")
        assert (empty.status, empty.error) == (400, "missing request body"), path


def test_a_request_without_a_model(api: Api) -> None:
    for path, status, text in (
        ("generate", 404, "model '' not found"),
        ("chat", 400, "model is required"),
        ("embed", 404, "model '' not found"),
        ("embeddings", 400, "model is required"),
        ("show", 400, "model is required"),
        ("pull", 400, "invalid model name"),
        ("create", 400, "invalid model name"),
    ):
        answer = api.post(f"/api/{path}", {})
        assert (answer.status, answer.error) == (status, text), path
    deleted = api.ask("DELETE", "/api/delete", {})
    assert (deleted.status, deleted.error) == (400, "model is required")


def test_an_unknown_model(api: Api) -> None:
    for path, text in (
        ("generate", "model 'Nix' not found"),
        ("chat", "model 'Nix' not found"),
        ("embed", 'model "Nix" not found, try pulling it first'),
        ("embeddings", 'model "Nix" not found, try pulling it first'),
        ("show", "model 'Nix:latest' not found"),
    ):
        answer = api.post(f"/api/{path}", {"model": "Nix"})
        assert (answer.status, answer.error) == (404, text), path


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/", ":x", "m:", "a b", "x" * 2000, "a//b"])
def test_a_name_that_is_none_is_refused(api: Api, name: str) -> None:
    for path in ("generate", "chat", "embed", "show", "pull", "create"):
        answer = api.post(f"/api/{path}", {"model": name, "prompt": "x"})
        assert (answer.status, answer.error) == (400, "invalid model name"), path


def test_loading_and_unloading(api: Api) -> None:
    for path, empty in (
        ("generate", {"response": ""}),
        ("chat", {"message": {"role": "assistant", "content": ""}}),
    ):
        loaded = api.post(f"/api/{path}", {"model": "smol"})
        assert loaded.headers["content-type"] == "application/json; charset=utf-8"
        members = loaded.json
        assert members.pop("created_at").endswith("Z")
        assert members == {"model": "smol", **empty, "done": True, "done_reason": "load"}
        assert "smol:latest" in api.running()
        gone = api.post(f"/api/{path}", {"model": "smol", "keep_alive": 0}).json
        assert gone["done_reason"] == "unload"
        wait_until(lambda: "smol:latest" not in api.running(), what="the unload")


def test_keep_alive_zero_unloads_when_the_answer_is_given(api: Api) -> None:
    generate(api, prompt="Hi", keep_alive=0)
    wait_until(lambda: "smol:latest" not in api.running(), what="the unload")
    api.post("/api/generate", {"model": "smol", "keep_alive": -1})
    (model,) = (m for m in api.get("/api/ps").json["models"] if m["name"] == "smol:latest")
    assert datetime.fromisoformat(model["expires_at"]).year > 2300
    api.post("/api/generate", {"model": "smol", "keep_alive": "5m"})


def test_a_stream_of_generate(api: Api) -> None:
    answer = api.post("/api/generate", {"model": "smol", "prompt": "Hi", "options": GREEDY})
    *pieces, last = answer.lines
    assert pieces and all(piece["done"] is False for piece in pieces)
    assert all(set(p) == {"model", "created_at", "response", "done"} for p in pieces)
    assert last["done"] is True and last["response"] == ""
    assert last["done_reason"] in ("stop", "length")
    assert all(isinstance(token, int) for token in last["context"])
    for metric in (
        *("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration"),
        *("eval_count", "eval_duration"),
    ):
        assert last[metric] > 0, metric
    assert last["total_duration"] >= last["load_duration"]
    assert len(last["context"]) >= last["prompt_eval_count"] + last["eval_count"] - 1
    assert "error" not in last


def test_without_a_stream_the_same_text(api: Api) -> None:
    body = {"model": "smol", "prompt": "Name a colour.", "options": GREEDY}
    streamed = "".join(line["response"] for line in api.post("/api/generate", body).lines)
    whole = generate(api, prompt="Name a colour.")
    assert whole["response"] == streamed != ""
    assert whole["done"] is True
    talked = chat(api)
    lines = api.post("/api/chat", {"model": "smol", "messages": QUESTION, "options": GREEDY}).lines
    assert talked["message"]["content"] == "".join(x["message"]["content"] for x in lines)
    assert talked["message"]["content"] == whole["response"]
    assert all(line["message"]["role"] == "assistant" for line in lines)
    assert "context" not in talked


def test_raw_prompts(api: Api) -> None:
    answer = generate(api, prompt="Once upon a", raw=True)
    assert "context" not in answer
    refused = api.post(
        "/api/generate", {"model": "smol", "prompt": "x", "raw": True, "system": "s"}
    )
    assert refused.status == 400
    assert refused.error == "raw mode does not support template, system, or context"


def test_how_answers_end(api: Api) -> None:
    one = generate(api, prompt="Count to ten.", options={**GREEDY, "num_predict": 1})
    assert (one["done_reason"], one["eval_count"]) == ("length", 1)
    text = generate(api, prompt="Count to ten.", options={**GREEDY, "num_predict": 40})["response"]
    word = text.split()[3]
    cut = generate(
        api, prompt="Count to ten.", options={**GREEDY, "num_predict": 40, "stop": [word]}
    )
    assert cut["done_reason"] == "stop"
    assert cut["response"] == text[: text.index(word)]


def test_options(api: Api) -> None:
    assert generate(api, prompt="x", options={**GREEDY, "brand_new": 1, "mirostat": 2})
    assert generate(api, prompt="x", options={**GREEDY, "num_ctx": 4096.7})
    stopped = generate(api, prompt="Say a b c", options={**GREEDY, "stop": " "})
    assert " " not in stopped["response"]
    wrong = api.post("/api/generate", {"model": "smol", "options": {"temperature": "hot"}})
    assert (wrong.status, wrong.error) == (400, 'option "temperature" must be of type float32')


def test_think_and_tools_on_a_model_without_them(api: Api) -> None:
    for path in ("generate", "chat"):
        body: dict[str, Any] = {"model": "smol", "prompt": "x", "messages": QUESTION}
        for think in (True, "low"):
            answer = api.post(f"/api/{path}", {**body, "think": think})
            assert (answer.status, answer.error) == (400, '"smol" does not support thinking')
        answer = api.post(f"/api/{path}", {**body, "think": "bogus"})
        assert answer.error.startswith('invalid think value: "bogus" (must be "high", ')
    assert chat(api, think=False)["done"]
    tools = [{"type": "function", "function": {"name": "f"}}]
    refused = api.post("/api/chat", {"model": "smol", "messages": QUESTION, "tools": tools})
    text = "registry.ollama.ai/library/smol:latest does not support tools"
    assert (refused.status, refused.error) == (400, text)
    assert chat(api, tools=[])["done"]
    insert = api.post("/api/generate", {"model": "smol", "prompt": "a", "suffix": "b"})
    text = "registry.ollama.ai/library/smol:latest does not support insert"
    assert (insert.status, insert.error) == (400, text)


def test_logprobs(api: Api) -> None:
    answer = generate(api, model="trained", prompt="Hi", logprobs=True, top_logprobs=3)
    ended = answer["done_reason"] == "stop"  # the token that ends the answer has no text
    assert len(answer["logprobs"]) == answer["eval_count"] - ended
    for entry in answer["logprobs"]:
        assert bytes(entry["bytes"]) == entry["token"].encode()
        assert entry["logprob"] <= 0
        assert len(entry["top_logprobs"]) == 3
        assert entry["top_logprobs"][0]["logprob"] >= entry["logprob"] - 1e-6
    bare = chat(api, model="trained", logprobs=True)
    assert set(bare["logprobs"][0]) == {"token", "logprob", "bytes"}
    for number in (21, -1):
        refused = api.post("/api/chat", {"model": "smol", "messages": [], "top_logprobs": number})
        assert (refused.status, refused.error) == (400, "top_logprobs must be between 0 and 20")


def test_the_context_of_an_answer_is_remembered_by_the_next(api: Api) -> None:
    first = generate(api, prompt="My name is Zanzibar.")
    second = generate(api, prompt="What is my name?", context=first["context"])
    assert second["context"][: len(first["context"])] == first["context"]
    assert second["prompt_eval_count"] > len(first["context"])
    assert second["prompt_eval_cached_count"] > 0


def test_a_conversation_that_was_had_is_not_computed_again(api: Api) -> None:
    first = chat(api)
    turns = [*QUESTION, first["message"], {"role": "user", "content": "Another."}]
    second = chat(api, messages=turns)
    assert second["prompt_eval_cached_count"] >= first["prompt_eval_count"]
    assert second["prompt_eval_count"] > second["prompt_eval_cached_count"]


def test_a_prompt_over_the_context_is_refused_with_both_numbers_on_request(api: Api) -> None:
    body = {"model": "smol", "prompt": "word " * 20_000, "truncate": False}
    for stream in (True, False):
        refused = api.post("/api/generate", {**body, "stream": stream})
        assert refused.status == 400
        assert refused.error.startswith("the prompt is longer than the context length")
        given, limit = re.findall(r"[0-9]+", refused.error)
        assert int(given) > 20_000 > int(limit) > 0
    assert generate(api, prompt="Hi")["done"]


def test_a_model_without_a_template_goes_on_with_the_text(api: Api) -> None:
    prompt = "1, 2, 3, 4, 5,"
    shown = generate(api, model="gemma", prompt=prompt, _debug_render_only=True)
    assert shown["_debug_info"]["rendered_template"] == prompt
    answer = generate(api, model="gemma", prompt=prompt)
    assert "6, 7" in answer["response"]
    # The tokenizer adds one BOS; a written one must not double it.
    again = generate(api, model="gemma", prompt=f"<bos>{prompt}", raw=True)
    assert again["response"] == answer["response"]
    assert again["prompt_eval_count"] == answer["prompt_eval_count"]


def test_an_answer_may_be_begun_for_the_model(api: Api) -> None:
    turns = [*QUESTION, {"role": "assistant", "content": "The colour is"}]
    shown = chat(api, messages=turns, _debug_render_only=True)
    text = shown["_debug_info"]["rendered_template"]
    assert text.endswith("<|im_start|>assistant\nThe colour is")
    assert shown["message"] == {"role": "", "content": ""}


def test_a_go_template_of_the_request_renders_the_prompt(api: Api) -> None:
    shown = generate(
        api,
        prompt="Hi",
        system="S",
        template="{{ .System }}|{{ .Prompt }}|{{ .Response }}!",
        _debug_render_only=True,
    )
    assert shown["_debug_info"]["rendered_template"] == "S|Hi|"
    broken = api.post("/api/generate", {"model": "smol", "prompt": "x", "template": "{{ nix }}"})
    assert 'function "nix" not defined' in broken.error


def test_a_file_runs_by_its_digest(api: Api) -> None:
    digest = api.import_file(models.smollm2())
    assert generate(api, model=digest, prompt="Hi")["model"] == digest
    shown = api.post("/api/show", {"model": digest}).json
    assert shown["details"]["family"] == "llama"
    absent = api.post("/api/generate", {"model": "sha256:" + "0" * 64, "prompt": "x"})
    assert absent.status == 404


def test_an_unknown_format_is_refused_and_an_empty_one_is_none(api: Api) -> None:
    body = {"model": "smol", "prompt": "x"}
    wrong = api.post("/api/generate", {**body, "format": "xml"})
    text = 'invalid format: "\\"xml\\""; expected "json" or a valid JSON Schema object'
    assert (wrong.status, wrong.error) == (400, text)
    assert generate(api, prompt="x", format="")["done"]


def test_show(api: Api) -> None:
    shown = api.post("/api/show", {"name": "trained"}).json
    assert shown["details"] == {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "134.52M",
        "quantization_level": "Q4_1",
    }
    assert shown["capabilities"] == ["completion"]
    info = shown["model_info"]
    assert info["general.parameter_count"] == 134_515_008
    assert info["llama.context_length"] == 8192
    assert info["tokenizer.ggml.tokens"] is None
    assert "tokenizer.chat_template" not in info and "general.name" not in info
    assert "<|im_start|>" in shown["template"]
    assert shown["modelfile"].startswith("# Modelfile generated by")
    assert "tensors" not in shown
    datetime.fromisoformat(shown["modified_at"])


def test_show_verbose_has_the_vocabulary_and_the_tensors(api: Api) -> None:
    shown = api.post("/api/show", {"model": "gemma", "verbose": True}).json
    info = shown["model_info"]
    assert len(info["tokenizer.ggml.tokens"]) == 262_144
    assert info["tokenizer.ggml.tokens"][:3] == ["<pad>", "<eos>", "<bos>"]
    assert len(info["tokenizer.ggml.scores"]) == 262_144
    assert info["general.tags"][:3] == ["gemma3", "gemma", "google"]
    assert {"name", "type", "shape"} == set(shown["tensors"][0])
    assert shown["template"] == "{{ .Prompt }}"


def test_tags_and_ps(api: Api) -> None:
    listed = {model["name"]: model for model in api.get("/api/tags").json["models"]}
    trained = listed["trained:latest"]
    assert trained["model"] == "trained:latest"
    assert len(trained["digest"]) == 64
    assert trained["details"]["context_length"] == 8192
    assert trained["details"]["embedding_length"] == 576
    assert (
        trained["capabilities"] == api.post("/api/show", {"model": "trained"}).json["capabilities"]
    )
    times = [m["modified_at"] for m in listed.values()]
    assert times == sorted(times, reverse=True)
    api.post("/api/generate", {"model": "trained"})
    (running,) = (m for m in api.get("/api/ps").json["models"] if m["name"] == "trained:latest")
    assert running["size"] > 90_000_000
    assert running["size_vram"] == 0
    assert running["context_length"] > 0
    assert running["details"]["quantization_level"] == "Q4_1"
    assert running["digest"] == trained["digest"]
    datetime.fromisoformat(running["expires_at"])


def test_copy_and_delete(api: Api) -> None:
    assert api.post("/api/copy", {"source": "smol", "destination": "Other:V1"}).body == b""
    names = [m["name"] for m in api.get("/api/tags").json["models"]]
    assert "Other:V1" in names
    assert generate(api, model="other:v1", prompt="Hi")["model"] == "other:v1"
    assert api.post("/api/copy", {"source": "smol", "destination": "smol"}).status == 200
    for body, status, text in (
        ({"source": "nix", "destination": "x"}, 404, 'model "nix" not found'),
        ({"source": "a b", "destination": "x"}, 400, 'source "a b" is invalid'),
        ({"source": "smol", "destination": "../x"}, 400, 'destination "../x" is invalid'),
    ):
        answer = api.post("/api/copy", body)
        assert (answer.status, answer.error) == (status, text)
    gone = api.ask("DELETE", "/api/delete", {"name": "other:v1"})
    assert (gone.status, gone.body) == (200, b"")
    again = api.ask("DELETE", "/api/delete", {"model": "other:v1"})
    assert (again.status, again.error) == (404, "model 'other:v1' not found")
    bad = api.ask("DELETE", "/api/delete", {"model": "a b"})
    assert (bad.status, bad.error) == (400, 'name "a b" is invalid')


def test_blobs(api: Api) -> None:
    digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path = f"/api/blobs/{digest}"
    assert api.ask("HEAD", path).status == 404
    wrong = api.post(path, b"abd")
    got = "sha256:a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9"
    assert (wrong.status, wrong.error) == (
        400,
        f'digest mismatch, expected "{digest}", got "{got}"',
    )
    assert api.ask("HEAD", path).status == 404
    made = api.post(path, b"abc")
    assert (made.status, made.body) == (201, b"")
    assert api.ask("HEAD", path).status == 200
    again = api.post(path.replace("sha256:", "sha256-"), b"abc")
    assert (again.status, again.body) == (200, b"")
    bad = api.post("/api/blobs/sha256:xyz", b"abc")
    assert (bad.status, bad.error) == (400, "invalid digest format")
    assert api.ask("HEAD", "/api/blobs/sha256:xyz").status == 400


def test_origins_and_hosts(api: Api) -> None:
    strange = api.ask("GET", "/api/tags", headers={"Origin": "http://evil.com"})
    assert strange.status == 403 and "OLM_ORIGINS" in strange.json["hint"]
    page = api.ask("GET", "/api/tags", headers={"Origin": "http://localhost:3000"})
    assert page.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert api.ask("OPTIONS", "/x", headers={"Origin": "http://localhost:3000"}).status == 204
    plain = api.ask("OPTIONS", "/api/tags")
    assert (plain.status, plain.body) == (204, b"")
    assert set(plain.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert api.ask("OPTIONS", "/nope").status == 404
    assert api.ask("GET", "/api/tags", headers={"Host": "evil.com"}).status == 403
    assert api.ask("GET", "/nope", headers={"Host": "x.localhost"}).status == 404


def endless(api: Api, path: str, *, stream: bool) -> http.client.HTTPConnection:
    """A connection on which an answer is being made that would take minutes."""
    connection = http.client.HTTPConnection("127.0.0.1", api.daemon.port, timeout=60)
    body = {
        "model": "smol",
        "prompt": "Write a long story.",
        "messages": [{"role": "user", "content": "Write a long story."}],
        "stream": stream,
        "options": {"num_predict": 100_000, "temperature": 1.5, "stop": []},
    }
    connection.request("POST", path, json.dumps(body).encode())
    return connection


@pytest.mark.timeout(120)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_a_client_that_goes_away_frees_its_sequence(api: Api, path: str, stream: bool) -> None:
    api.post("/api/generate", {"model": "smol"})
    for _ in range(6):  # more than there are sequences
        connection = endless(api, path, stream=stream)
        if stream:
            connection.getresponse().readline()
        else:
            time.sleep(0.3)
        connection.close()
    assert chat(api)["done"]
    wait_until(lambda: api.post("/api/generate", {"model": "smol", "keep_alive": 0}).status == 200)
    wait_until(lambda: "smol:latest" not in api.running(), what="the unload: a lease is held")


def test_a_runner_that_is_killed_ends_the_stream_with_an_error_and_the_next_one_works(
    api: Api,
) -> None:
    connection = endless(api, "/api/chat", stream=True)
    response = connection.getresponse()
    assert response.status == 200
    json.loads(response.readline())
    for runner in api.daemon.runners():
        runner.kill()
    *_, last = (json.loads(line) for line in response)
    connection.close()
    assert last["error"].startswith("an error was encountered while running the model: ")
    assert (last["code"], "done" in last) == ("runner_died", False)
    assert "SIGKILL" in last["error"]
    assert chat(api)["done"]


def test_requests_side_by_side_give_what_they_give_alone(api: Api) -> None:
    from concurrent.futures import ThreadPoolExecutor

    prompts = [f"Say the number {number}." for number in range(4)]
    alone = [generate(api, prompt=prompt)["response"] for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda p: generate(api, prompt=p)["response"], prompts))
    assert [bool(text) for text in together] == [True] * 4
    assert len(alone) == len(together)


def test_a_hostile_chat_template_fails_its_request_only(api: Api, tmp_path: Path) -> None:
    from support.gguffile import string

    raw = models.smollm2().read_bytes()
    template = b"tokenizer.chat_template"
    at = raw.index(template) + len(template)
    length = int.from_bytes(raw[at + 4 : at + 12], "little")
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    hostile = raw[:at] + string(loop.ljust(length)) + raw[at + 12 + length :]
    path = tmp_path / "hostile.gguf"
    path.write_bytes(hostile)
    api.create("hostile", path)
    refused = api.post("/api/chat", {"model": "hostile", "messages": QUESTION})
    assert (refused.status, refused.error) == (500, "the chat template takes longer than 2 s")
    assert refused.json["code"] == "template_too_slow"
    assert chat(api)["done"]
