"""Embeddings by an encoder (MiniLM), by a decoder loaded for them, and beside generation."""

import array
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from olmkit.engine.runner import protocol as p
from support.models import minilm_gguf, smollm2
from support.randommodel import write_llama
from support.runner import RunnerClient, RunnerFailure, loaded_runner

Vector: TypeAlias = "array.array[float]"
SENTENCES = [
    "A man is eating food.",
    "Someone has a meal.",
    "The stock market fell sharply today.",
]


@pytest.fixture(scope="module")
def encoder() -> Iterator[RunnerClient]:
    with loaded_runner(minilm_gguf(), context_tokens=4096) as client:
        yield client


def vectors(embedded: p.Embedded) -> list[Vector]:
    found = [array.array("f", raw) for raw in embedded.vectors]
    assert all(len(one) == embedded.dimensions for one in found)
    return found


def cosine(one: Vector, other: Vector) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def test_an_encoder_is_known_as_one_even_when_loaded_for_generation() -> None:
    with RunnerClient() as client:
        loaded = client.load(minilm_gguf(), context_tokens=4096)
        assert loaded.has_encoder_only
        assert loaded.embedding_length == 384
        assert loaded.context_tokens == loaded.trained_context_tokens == 512
        with pytest.raises(RunnerFailure, match="cannot generate") as caught:
            client.complete("hello")
        assert caught.value.failed.kind is p.FailureKind.UNSUPPORTED


def test_vectors_are_normalised_and_near_where_meanings_are(encoder: RunnerClient) -> None:
    embedded = encoder.embed(SENTENCES)
    meal, food, stocks = vectors(embedded)
    assert all(cosine(one, one) == pytest.approx(1, abs=1e-5) for one in (meal, food, stocks))
    assert cosine(meal, food) > 0.5 > 0.2 > cosine(meal, stocks)
    assert embedded.prompt_tokens == sum(len(encoder.tokenize(text)) for text in SENTENCES)


def test_inputs_side_by_side_equal_those_one_by_one_in_order(encoder: RunnerClient) -> None:
    texts = [f"sentence number {index} " * (index % 7 + 1) for index in range(70)]
    together = vectors(encoder.embed(texts))
    for index in (0, 33, 69):
        (alone,) = vectors(encoder.embed([texts[index]]))
        assert cosine(alone, together[index]) > 0.9999


def test_many_short_inputs_share_a_step(encoder: RunnerClient) -> None:
    before = encoder.health().steps
    encoder.embed(["short"] * 32)
    assert encoder.health().steps == before + 1


def test_requests_side_by_side_are_all_answered(encoder: RunnerClient) -> None:
    ids = [
        encoder.send(p.Embedding(id=encoder.new_id(), inputs=[SENTENCES[index % 3]] * 9))
        for index in range(6)
    ]
    answers = encoder.replies(*ids)
    for one in ids:
        (embedded,) = answers[one]
        assert isinstance(embedded, p.Embedded)
        assert len(embedded.vectors) == 9
    assert answers[ids[0]][0].vectors[0] != answers[ids[1]][0].vectors[0]  # type: ignore[union-attr]


def test_a_long_input_is_cut_to_the_context_or_refused_with_both_numbers(
    encoder: RunnerClient,
) -> None:
    text = "word " * 700
    cut = encoder.embed([text])
    assert cut.prompt_tokens == 512
    assert cosine(vectors(cut)[0], vectors(encoder.embed(["word " * 510]))[0]) > 0.9999
    with pytest.raises(RunnerFailure) as caught:
        encoder.embed([text], truncate=False)
    failed = caught.value.failed
    assert failed.kind is p.FailureKind.CONTEXT_EXCEEDED
    assert (failed.given_tokens, failed.limit_tokens) == (702, 512)


@pytest.mark.parametrize("context_tokens", [500, 33, 10])
def test_a_context_of_any_size_embeds(context_tokens: int) -> None:
    with loaded_runner(minilm_gguf(), context_tokens=context_tokens) as client:
        cut = client.embed(["word " * 700, "short"])
        assert cut.prompt_tokens == context_tokens + 3
        with pytest.raises(RunnerFailure, match="context"):
            client.embed(["word " * 700], truncate=False)


def test_no_inputs_give_no_vectors_and_an_empty_one_gives_one(encoder: RunnerClient) -> None:
    assert encoder.embed([]).vectors == []
    assert len(encoder.embed([""]).vectors) == 1


def test_too_many_inputs_for_a_frame_are_refused(encoder: RunnerClient) -> None:
    with pytest.raises(RunnerFailure, match="too many") as caught:
        encoder.embed([""] * 30_000)
    assert caught.value.failed.kind is p.FailureKind.BAD_REQUEST


def test_an_embedding_can_be_cancelled(encoder: RunnerClient) -> None:
    one = encoder.send(p.Embedding(id=encoder.new_id(), inputs=["word " * 500] * 40))
    encoder.cancel(one)
    (failed,) = encoder.replies(one)[one]
    assert isinstance(failed, p.Failed)
    assert failed.kind is p.FailureKind.CANCELLED
    assert len(encoder.embed(SENTENCES).vectors) == 3


def test_a_decoder_loaded_for_embeddings_takes_the_last_token_and_splits_long_inputs(
    tmp_path: Path,
) -> None:
    path = write_llama(tmp_path / "tiny.gguf")
    text = "one two three " * 20
    with loaded_runner(path, embedding=True, context_tokens=512, batch_tokens=64) as client:
        assert len(client.tokenize(text)) > 4 * 64
        inputs = [*SENTENCES, text, "", text[:200]]
        split = vectors(client.embed(inputs))
        with pytest.raises(RunnerFailure, match="only computes embeddings"):
            client.complete("hello")
    with loaded_runner(path, embedding=True, context_tokens=512, batch_tokens=512) as client:
        whole = vectors(client.embed(inputs))
    assert [len(one) for one in whole] == [128] * 6
    for one, other in zip(split, whole, strict=True):
        assert cosine(one, other) > 0.9999
    assert cosine(whole[0], whole[3]) < 0.9


def test_a_model_that_generates_embeds_at_the_same_time() -> None:
    with loaded_runner(smollm2()) as client:
        alone = client.complete("1 2 3 4 5 6 7 8 9 10 11 12", max_tokens=20)
        writing = client.start("1 2 3 4 5 6 7 8 9 10 11 12", max_tokens=20)
        embedded = client.send(p.Embedding(id=client.new_id(), inputs=SENTENCES))
        answers = client.replies(writing, embedded)
        assert isinstance(answers[embedded][0], p.Embedded)
        text = "".join(one.text for one in answers[writing] if isinstance(one, p.Piece))
        assert text == alone.text
