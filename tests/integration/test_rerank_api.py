"""POST /v1/rerank and /api/rerank, by a tiny cross-encoder whose scores transformers computed."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from olmkit.engine.create.convert import convert_directory, directory_files
from support import models
from support.api import Api
from support.checkpoints import write_checkpoint
from support.convert_oracle import PAIR
from support.daemon import running_daemon
from support.replyforms import check_form

ORACLE = json.loads(Path(__file__).with_name("test_convert_oracle.json").read_text("utf-8"))
SCORE = ORACLE["checkpoints"]["bert_classifier"]["scores"][0]
"""Of the pair, which is a query and a document between control tokens."""
SEPARATOR = PAIR[-1]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("rerank")
    files = directory_files(write_checkpoint("bert_classifier", folder / "checkpoint"))
    convert_directory(files, folder / "judge.gguf")
    with running_daemon(folder / "home") as daemon:
        api = Api(daemon)
        api.create("judge", folder / "judge.gguf")
        api.create("minilm", models.minilm_gguf())
        yield api


@pytest.fixture(scope="module")
def texts(api: Api) -> tuple[str, str]:
    """The query and the document of the pair."""
    border = PAIR.index(SEPARATOR)
    query, document = (
        api.post("/api/detokenize", {"model": "judge", "tokens": tokens}).json["text"].strip()
        for tokens in (PAIR[1:border], PAIR[border + 1 : -1])
    )
    return query, document


def rerank(api: Api, texts: tuple[str, str], path: str = "/v1/rerank", **members: Any) -> Any:
    query, document = texts
    body = {"model": "judge", "query": query, "documents": [query, document, ""], **members}
    answer = api.post(path, body)
    assert answer.status == 200, answer.body
    return answer.json


def test_a_pair_has_the_score_that_transformers_gives_it(api: Api, texts: tuple[str, str]) -> None:
    raw = rerank(api, texts, raw_scores=True)["results"]
    score = next(one["relevance_score"] for one in raw if one["index"] == 1)
    assert score == pytest.approx(SCORE, abs=1e-4)
    shown = rerank(api, texts)["results"]
    assert [one["index"] for one in shown] == [one["index"] for one in raw]
    for one, other in zip(shown, raw, strict=True):
        expected = 1 / (1 + math.exp(-other["relevance_score"]))
        assert one["relevance_score"] == pytest.approx(expected)


def test_the_best_come_first_and_only_as_many_as_wanted(api: Api, texts: tuple[str, str]) -> None:
    every = rerank(api, texts)
    scores = [one["relevance_score"] for one in every["results"]]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 3
    assert (every["object"], every["model"]) == ("list", "judge")
    assert every["usage"]["total_tokens"] == every["usage"]["prompt_tokens"] > 3 * len(texts)
    best = rerank(api, texts, top_n=1, return_documents=True)["results"]
    assert best == [every["results"][0] | {"document": {"text": best[0]["document"]["text"]}}]
    query, document = texts
    assert best[0]["document"]["text"] == [query, document, ""][best[0]["index"]]


def test_the_native_route_ranks_alike_and_takes_documents_as_objects(
    api: Api, texts: tuple[str, str]
) -> None:
    query, document = texts
    documents = [{"text": query}, {"text": document}, {"text": ""}]
    native = rerank(api, texts, "/api/rerank", documents=documents)
    assert native["results"] == rerank(api, texts)["results"]
    assert native["prompt_eval_count"] > 0 and native["total_duration"] > 0
    check_form("post", "/api/rerank", native)
    check_form("post", "/v1/rerank", rerank(api, texts, return_documents=True))


def test_a_document_that_is_too_long_is_refused_or_cut(api: Api, texts: tuple[str, str]) -> None:
    query, document = texts
    body = {"model": "judge", "query": query, "documents": [f"{document} " * 400]}
    refused = api.post("/v1/rerank", body)
    assert refused.status == 400
    assert "exceed the context length" in refused.json["error"]["message"]
    second = api.post("/v1/rerank", body | {"documents": ["x", *body["documents"]]})
    assert "exceed the context length (documents[1]: " in second.json["error"]["message"]
    (cut,) = rerank(api, texts, documents=body["documents"], truncate=True)["results"]
    assert 0 < cut["relevance_score"] < 1
    too_long = api.post("/v1/rerank", body | {"query": f"{query} " * 400, "truncate": True})
    assert too_long.status == 400


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"query": ""}, "query is required"),
        ({"documents": []}, "not empty"),
        ({"documents": "text"}, "array of texts"),
        ({"documents": ["a", 5]}, "documents[1]"),
        ({"top_n": 0}, "top_n must be at least 1"),
        ({"model": "minilm"}, '"minilm" does not support rerank'),
    ],
)
def test_what_cannot_be_ranked_is_refused(api: Api, members: dict[str, Any], words: str) -> None:
    answer = api.post("/api/rerank", {"model": "judge", "query": "a", "documents": ["b"]} | members)
    assert answer.status == 400
    assert words in answer.error


def test_a_reranker_says_what_it_can_and_that_it_can_nothing_else(api: Api) -> None:
    assert api.post("/api/show", {"model": "judge"}).json["capabilities"] == ["rerank"]
    listed = {m["name"]: m["capabilities"] for m in api.get("/api/tags").json["models"]}
    assert listed["judge:latest"] == ["rerank"]
    for path, body in (
        ("/api/embed", {"input": "a"}),
        ("/api/generate", {"prompt": "a"}),
        ("/api/chat", {"messages": [{"role": "user", "content": "a"}]}),
    ):
        answer = api.post(path, {"model": "judge", **body})
        assert (answer.status, answer.json["hint"]) == (400, "it ranks documents: use /api/rerank")
