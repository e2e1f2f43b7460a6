"""What clients of Ollama's API rely on besides its answers: paths, names, numbers, empty texts."""

import json
import re
from array import array
from collections.abc import Iterator
from typing import Any

import pytest
import zstandard

from support import models
from support.api import Api
from support.daemon import running_daemon
from support.registry import Registry, serving

GREEDY = {"temperature": 0, "seed": 1}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_daemon(tmp_path_factory.mktemp("compat") / "home") as daemon:
        client = Api(daemon)
        client.create("smol", models.smollm2())
        client.create("minilm", models.minilm_gguf())
        client.create(
            "told", parent="smol", system="Be brief.", template="{{ .System }}|{{ .Prompt }}"
        )
        yield client


def generate(api: Api, **members: Any) -> Any:
    answer = api.post("/api/generate", {"model": "smol", "stream": False, **members})
    assert answer.status == 200, answer.body
    return answer.json


# --- paths ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ("/api/tags/", "/api/tags"),
        ("//api/tags", "/api/tags"),
        ("/api//tags//", "/api/tags"),
        ("//api/version?x=1", "/api/version?x=1"),
        ("/v1/models/", "/v1/models"),
        ("/v1/models/smol/", "/v1/models/smol"),
    ],
)
def test_doubled_and_trailing_slashes_lead_to_the_path_without(
    api: Api, given: str, clean: str
) -> None:
    moved = api.get(given)
    assert (moved.status, moved.headers["location"]) == (301, clean)
    assert api.get(moved.headers["location"]).status == 200


def test_a_body_is_to_be_sent_again_to_the_clean_path(api: Api) -> None:
    for path in ("//api/show", "/api/show/"):
        moved = api.post(path, {"model": "smol"})
        assert (moved.status, moved.headers["location"]) == (307, "/api/show")
    digest = "sha256:" + "0" * 64
    moved = api.ask("HEAD", f"//api/blobs/{digest}")
    assert (moved.status, moved.headers["location"]) == (307, f"/api/blobs/{digest}")
    assert api.get("//nope/").status == 404


def test_who_is_not_signed_in_is_told_so(api: Api) -> None:
    answer = api.post("/api/me", {})
    assert (answer.status, answer.error) == (401, "unauthorized")
    for answer in (api.post("/api/signout"), api.ask("DELETE", "/api/user/keys/abc")):
        assert (answer.status, answer.error) == (401, "you are not currently signed in")


def test_what_only_a_cloud_can_do_is_refused_as_without_one(api: Api) -> None:
    for what in ("search", "fetch"):
        answer = api.post(f"/api/experimental/web_{what}", {"query": "x", "url": "x"})
        text = f"ollama cloud is disabled: web {what} is unavailable"
        assert (answer.status, answer.error) == (403, text)
    assert api.get("/api/experimental/model-recommendations").json == {"recommendations": []}
    answer = api.post("/api/chat", {"model": "smol:cloud", "messages": []})
    assert (answer.status, answer.error) == (404, "model 'smol:cloud' not found")


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [" smol", "smol ", "smol:local", "SMOL", "library/smol"])
def test_other_spellings_of_a_name_are_taken(api: Api, name: str) -> None:
    assert api.post("/api/show", {"model": name}).status == 200
    answer = generate(api, model=name, prompt="")
    assert (answer["model"], answer["done_reason"]) == (name, "load")


def test_names_with_blanks_around_are_taken_where_models_are_made(api: Api) -> None:
    api.create(" blank ", parent=" smol ")
    assert api.post("/api/copy", {"source": " blank", "destination": "copied "}).status == 200
    names = [one["name"] for one in api.get("/api/tags").json["models"]]
    assert {"blank:latest", "copied:latest"} <= set(names)
    assert api.ask("DELETE", "/api/delete", {"model": " copied"}).status == 200
    assert api.ask("DELETE", "/api/delete", {"model": "blank "}).status == 200


def test_a_registry_is_reached_by_plain_http_where_both_ask_for_it(api: Api) -> None:
    with serving(Registry()) as registry:
        name = f"http://{registry.host}/team/smol"
        api.create(f"{registry.host}/team/smol", parent="smol")
        body = {"model": name, "insecure": True, "stream": False}
        assert api.post("/api/push", body).json == {"status": "success"}
        assert api.post("/api/pull", body).json == {"status": "success"}
        refused = api.post("/api/pull", {**body, "insecure": False})
        assert refused.status == 400
        assert "http:// is not secure" in refused.json["hint"]


def test_a_push_tells_its_steps(api: Api) -> None:
    with serving(Registry()) as registry:
        name = f"{registry.host}/team/steps:1"
        api.create(name, parent="smol")
        lines = api.post("/api/push", {"model": f"http://{name}", "insecure": True}).lines
        statuses = list(dict.fromkeys(line["status"] for line in lines))
        assert statuses[0] == "retrieving manifest"
        assert all(re.fullmatch("pushing [0-9a-f]{12}", status) for status in statuses[1:-2])
        assert statuses[-2:] == ["pushing manifest", "success"]
        (weights, *_) = (line for line in lines if line.get("completed"))
        assert weights["digest"].startswith("sha256:") and weights["total"] > 0
    lines = api.post("/api/push", {"model": "nonesuch"}).lines
    assert [line.get("status") for line in lines[:-1]] == [
        "retrieving manifest",
        "couldn't retrieve manifest",
    ]
    assert "not found" in lines[-1]["error"] and "status" not in lines[-1]
    nameless = api.post("/api/push", {})
    assert (nameless.status, nameless.error) == (400, "model is required")


@pytest.mark.parametrize("path", ["/api/chat", "/v1/responses"])
def test_a_body_may_come_compressed(api: Api, path: str) -> None:
    body = {"model": "smol", "messages": [{"role": "user", "content": "x"}], "input": "x"}
    bounded = body | {"stream": False, "options": {"num_predict": 1}, "max_output_tokens": 1}
    packed = zstandard.compress(json.dumps(bounded).encode())
    assert api.ask("POST", path, packed, headers={"Content-Encoding": "zstd"}).status == 200


@pytest.mark.parametrize(
    ("encoding", "body", "words"),
    [
        ("zstd", zstandard.compress(b" " * (40 << 20)), "the request body is over 33554432 bytes"),
        ("zstd", b"no zstd", "failed to decompress the request body"),
        ("gzip", b"{}", "the content encoding 'gzip' is not supported, only zstd"),
    ],
    ids=["bomb", "noise", "gzip"],
)
def test_a_body_that_cannot_be_decompressed_is_refused(
    api: Api, encoding: str, body: bytes, words: str
) -> None:
    refused = api.ask("POST", "/api/chat", body, headers={"Content-Encoding": encoding})
    assert refused.status == 400
    assert refused.error.startswith(words)


def test_a_model_that_is_made_again_counts_as_modified_now(api: Api) -> None:
    def modified() -> str:
        return str(api.post("/api/show", {"model": "again"}).json["modified_at"])

    api.create("again", parent="smol", system="The same.")
    before = modified()
    api.create("again", parent="smol", system="The same.")
    assert modified() > before


# --- empty texts ------------------------------------------------------------------------------


def test_empty_texts_mean_that_none_was_given(api: Api) -> None:
    empty = {"template": "", "system": "", "suffix": ""}
    rendered = generate(api, model="told", prompt="Hi", _debug_render_only=True, **empty)
    assert rendered["_debug_info"]["rendered_template"] == "Be brief.|Hi"
    assert generate(api, prompt="Hi", options={"num_predict": 1}, **empty)["response"]
    shown = api.post("/api/show", {"model": "told", "system": "", "template": ""}).json
    assert shown["system"] == "Be brief."
    made = {"from": "told", "template": "", "system": "", "renderer": "", "parser": ""}
    lines = api.post("/api/create", {"model": "child", **made}).lines
    assert lines[-1] == {"status": "success"}
    child = api.post("/api/show", {"model": "child"}).json
    assert (child["system"], child["template"]) == (shown["system"], shown["template"])


def test_errors_have_no_member_that_goes_for_ollamas(api: Api) -> None:
    missing = api.ask("DELETE", "/api/delete", {"model": "nope"}).json
    assert missing["error"] == "model 'nope' not found"
    # Go's client reads texts from `Status` and `signin_url`, in any case, and fails on a number.
    assert not {name.lower() for name in missing} & {"status", "statuscode", "signin_url"}


# --- numbers ----------------------------------------------------------------------------------


def test_num_predict_zero_runs_to_a_stop(api: Api) -> None:
    whole = generate(api, prompt="Hi", options={**GREEDY, "num_predict": 0})
    assert whole["response"]
    assert whole["done_reason"] == "stop"


def test_vectors_have_as_many_digits_as_their_numbers(api: Api) -> None:
    for path, body, member in (
        ("embed", {"input": "a"}, "embeddings"),
        ("embed", {"input": "a", "dimensions": 64}, "embeddings"),
        ("embeddings", {"prompt": "a"}, "embedding"),
    ):
        text = api.post(f"/api/{path}", {"model": "minilm", **body}).body.decode()
        vector = json.loads(text)[member]
        values = vector[0] if member == "embeddings" else vector
        assert (
            max(
                len(repr(value).partition("e")[0].lstrip("-0.").replace(".", ""))
                for value in values
            )
            <= 9
        )
        # And they are those numbers: the length, computed of them, is 1.
        assert abs(sum(value * value for value in array("f", values)) - 1) < 1e-5


def test_the_context_of_an_answer_ends_before_the_stop_string(api: Api) -> None:
    options = {**GREEDY, "num_predict": 24}
    plain = generate(api, prompt="1, 2, 3, 4,", raw=False, options=options)
    word = plain["response"].split()[1]
    cut = generate(api, prompt="1, 2, 3, 4,", options={**options, "stop": [word]})
    told = api.post("/api/detokenize", {"model": "smol", "tokens": cut["context"]}).json["text"]
    assert told.endswith(cut["response"])
    assert len(cut["context"]) < len(plain["context"])
