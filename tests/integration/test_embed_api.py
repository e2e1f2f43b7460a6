"""POST /api/embed and /api/embeddings with MiniLM.

Source: https://github.com/ollama/ollama/blob/v0.17.4/docs/api.md#generate-embeddings
"""

import json
import math
from collections.abc import Iterator, Sequence

import pytest

from support import models
from support.api import Api
from support.daemon import running_daemon


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_daemon(tmp_path_factory.mktemp("embed") / "home") as daemon:
        client = Api(daemon)
        client.create("minilm", models.minilm_gguf())
        yield client


def embed(api: Api, given: object, **members: object) -> list[list[float]]:
    answer = api.post("/api/embed", {"model": "minilm", "input": given, **members})
    assert answer.status == 200, answer.body
    vectors: list[list[float]] = answer.json["embeddings"]
    return vectors


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_a_text_and_several_texts(api: Api) -> None:
    (alone,) = embed(api, "a cat sits on a mat")
    assert len(alone) == 384
    assert math.isclose(math.sqrt(cosine(alone, alone)), 1, abs_tol=1e-5)
    cat, feline, stock = embed(
        api, ["a cat sits on a mat", "a feline rests on a rug", "stocks fell sharply today"]
    )
    assert cosine(alone, cat) > 0.9999
    assert cosine(cat, feline) > cosine(cat, stock) + 0.2


def test_numbers_have_few_digits_and_are_those_that_were_computed(api: Api) -> None:
    values = [value for vector in embed(api, ["a cat", "a mat", "a hat"]) for value in vector]
    assert [float(f"{value:.10g}") for value in values] == values


def test_nothing_to_embed_loads_the_model(api: Api) -> None:
    nothing: tuple[object, ...] = (None, "", [])
    for given in nothing:
        answer = api.post("/api/embed", {"model": "minilm", "input": given})
        assert (answer.status, answer.json) == (200, {"model": "minilm", "embeddings": []})
    assert "minilm:latest" in api.running()
    assert len(embed(api, [""])) == 1


def test_what_is_no_text_is_refused(api: Api) -> None:
    for given in ([1], 5, {"a": 1}, ["a", None]):
        answer = api.post("/api/embed", {"model": "nonesuch", "input": given})
        assert (answer.status, answer.error) == (400, "invalid input type")


def test_shorter_vectors_have_length_one_again(api: Api) -> None:
    (whole,) = embed(api, "hello")
    (short,) = embed(api, "hello", dimensions=64)
    assert len(short) == 64
    assert math.isclose(cosine(short, short), 1, abs_tol=1e-5)
    assert cosine(short, whole[:64]) > 0
    assert embed(api, "hello", dimensions=0) == embed(api, "hello", dimensions=384) == [whole]


@pytest.mark.parametrize("dimensions", [385, -1])
def test_more_dimensions_than_the_model_has_are_refused(api: Api, dimensions: int) -> None:
    body = {"model": "minilm", "input": "a", "dimensions": dimensions}
    for path in ("/api/embed", "/v1/embeddings"):
        answer = api.post(path, body)
        assert answer.status == 400
        words = f"dimensions must be between 1 and 384 for minilm:latest, not {dimensions}"
        assert words in json.dumps(answer.json)


def test_a_text_that_is_too_long_is_cut_or_refused(api: Api) -> None:
    long = "word " * 2000
    (cut,) = embed(api, long)
    assert math.isclose(cosine(cut, cut), 1, abs_tol=1e-5)
    refused = api.post("/api/embed", {"model": "minilm", "input": long, "truncate": False})
    assert refused.status == 400
    assert refused.error.startswith("the input length exceeds the context length (")
    assert "input[" not in refused.error
    body = {"model": "minilm", "input": ["short", long, "another", long], "truncate": False}
    for path in ("/api/embed", "/v1/embeddings"):
        refused = api.post(path, body)
        assert refused.status == 400
        assert "the input length exceeds the context length (input[1]: 2" in refused.body.decode()
    several = api.post("/api/embed", body | {"truncate": True}).json
    assert several["olm"] == {"truncated_inputs": 2, "truncated_indices": [1, 3]}
    assert several["embeddings"][1] == several["embeddings"][3]
    assert cosine(several["embeddings"][1], cut) > 0.999
    assert cosine(several["embeddings"][0], embed(api, "short")[0]) > 0.999


def test_the_numbers_are_there(api: Api) -> None:
    answer = api.post("/api/embed", {"model": "minilm", "input": ["one two", "three"]}).json
    assert answer["prompt_eval_count"] > 3
    assert answer["total_duration"] >= answer["load_duration"] > 0


def test_the_older_endpoint(api: Api) -> None:
    answer = api.post("/api/embeddings", {"model": "minilm", "prompt": "hello"}).json
    assert list(answer) == ["embedding"]
    assert cosine(answer["embedding"], embed(api, "hello")[0]) > 0.9999
    assert api.post("/api/embeddings", {"model": "minilm", "prompt": ""}).json == {"embedding": []}


def test_a_model_for_embeddings_answers_nothing_else(api: Api) -> None:
    assert api.post("/api/show", {"model": "minilm"}).json["capabilities"] == ["embedding"]
    for path in ("generate", "chat"):
        body = {"model": "minilm", "prompt": "x", "messages": [{"role": "user", "content": "x"}]}
        refused = api.post(f"/api/{path}", body)
        assert (refused.status, refused.error) == (400, f'"minilm" does not support {path}')


def test_many_at_once(api: Api) -> None:
    texts = [f"text number {number} " * (number % 8 + 1) for number in range(30)]
    together = embed(api, texts)
    assert len(together) == 30
    for number in (0, 15, 29):
        assert cosine(embed(api, texts[number])[0], together[number]) > 0.999


def test_a_context_of_a_few_tokens_takes_a_few_tokens(api: Api) -> None:
    """Fewer than a step has sequences; the model loads anew for it, and for who comes next."""
    (cut,) = embed(api, "a cat sits on a mat", options={"num_ctx": 4})
    assert len(cut) == 384
    (whole,) = embed(api, "a cat sits on a mat")
    assert cosine(cut, whole) < 0.9999
