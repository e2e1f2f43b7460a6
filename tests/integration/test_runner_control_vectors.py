"""Control vectors over one loaded model, chosen by each request."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from olmkit.engine.runner import protocol as p
from support.adapters import random_directions, write_control_vector
from support.randommodel import write_llama
from support.runner import Completion, RunnerClient, RunnerFailure, loaded_runner

LAYERS, WIDTH = 4, 64
STORY = "Once upon a time, there was"
LONG = "A list of colours: " + "red, green, blue, black, white, orange, purple, yellow, " * 4
NOISE = 0.01
"""By which log-probabilities differ in batches of other shapes."""
FIRST, SECOND = (random_directions(seed, layers=LAYERS, width=WIDTH) for seed in (1, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vectors")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return write_llama(folder / "model.gguf", layers=LAYERS, width=WIDTH)


@pytest.fixture(scope="module")
def runner(model: Path) -> Iterator[RunnerClient]:
    with loaded_runner(model, context_tokens=512, sequences=4) as client:
        yield client


@pytest.fixture(scope="module")
def one(folder: Path) -> p.AdapterUse:
    return p.AdapterUse(path=str(write_control_vector(folder / "one.gguf", FIRST)))


@pytest.fixture(scope="module")
def two(folder: Path) -> p.AdapterUse:
    return p.AdapterUse(path=str(write_control_vector(folder / "two.gguf", SECOND)))


def scaled(use: p.AdapterUse, scale: float) -> p.AdapterUse:
    return p.AdapterUse(path=use.path, scale=scale)


def said(runner: RunnerClient, *uses: p.AdapterUse) -> list[tuple[bytes, float]]:
    """The tokens of an answer with their log-probabilities, the same bits each time."""
    done = runner.complete(
        STORY,
        max_tokens=16,
        adapters=list(uses),
        reproducible=True,
        top_logprobs=1,
        ignore_eos=True,
    )
    return [(one.raw, one.logprob) for one in done.logprobs]


def text_of(pairs: list[tuple[bytes, float]]) -> bytes:
    return b"".join(raw for raw, _ in pairs)


def test_a_vector_steers_and_strength_0_leaves_it_off(
    runner: RunnerClient, one: p.AdapterUse
) -> None:
    plain, steered = said(runner), said(runner, one)
    assert text_of(plain) != text_of(steered)
    assert said(runner, scaled(one, 0.0)) == plain
    assert said(runner) == plain, "a vector stays with its request"
    assert said(runner, one) == steered
    weak = said(runner, scaled(one, 0.001))
    assert 0 < abs(weak[0][1] - plain[0][1]) < abs(steered[0][1] - plain[0][1])


def test_vectors_add_up_each_times_its_strength(
    runner: RunnerClient, one: p.AdapterUse, two: p.AdapterUse, folder: Path
) -> None:
    total = {layer: FIRST[layer] + SECOND[layer] for layer in FIRST}
    both = p.AdapterUse(path=str(write_control_vector(folder / "both.gguf", total)))
    assert said(runner, one, two) == said(runner, two, one) == said(runner, both)
    other = {layer: 0.5 * FIRST[layer] - 2 * SECOND[layer] for layer in FIRST}
    mixed = p.AdapterUse(path=str(write_control_vector(folder / "mixed.gguf", other)))
    assert said(runner, scaled(one, 0.5), scaled(two, -2.0)) == said(runner, mixed)
    assert said(runner, one, scaled(one, -1.0)) == said(runner)


def test_each_layer_gets_its_own_direction_and_those_without_get_none(
    runner: RunnerClient, one: p.AdapterUse, folder: Path
) -> None:
    parts = [
        p.AdapterUse(path=str(write_control_vector(folder / f"{layer}.gguf", {layer: direction})))
        for layer, direction in FIRST.items()
    ]
    answers = [said(runner, part) for part in parts]
    assert len({repr(each) for each in [*answers, said(runner), said(runner, one)]}) == 5
    assert said(runner, *parts) == said(runner, one)
    zeros = {layer: np.zeros(WIDTH, np.float32) for layer in FIRST} | {2: FIRST[2]}
    alone = p.AdapterUse(path=str(write_control_vector(folder / "zeros.gguf", zeros)))
    said(runner, one)  # whose numbers are to be gone
    assert said(runner, alone) == answers[1]


def test_a_vector_of_a_load_is_that_of_a_request(
    runner: RunnerClient, model: Path, one: p.AdapterUse
) -> None:
    with RunnerClient() as client:
        client.load(model, context_tokens=512, sequences=4, adapters=[Path(one.path)])
        loaded = client.complete(
            STORY, max_tokens=16, reproducible=True, top_logprobs=1, ignore_eos=True
        )
        assert [(each.raw, each.logprob) for each in loaded.logprobs] == said(runner, one)
        assert said(client) == said(runner)


def test_requests_beside_each_other_get_what_they_get_alone(
    runner: RunnerClient, one: p.AdapterUse, two: p.AdapterUse
) -> None:
    """Each answer's last token is as likely as its own set, alone, says behind the same text."""
    sets: list[list[p.AdapterUse]] = [[], [one], [two], [one, two]]
    prompt = runner.tokenize(STORY)
    ids = [
        runner.start(prompt, max_tokens=24, adapters=uses, top_logprobs=1, ignore_eos=True)
        for uses in sets
    ]
    found = runner.replies(*ids)
    for number, uses in zip(ids, sets, strict=True):
        beside = Completion(found[number])
        assert len(beside.tokens) == 24
        text = [*prompt, *beside.tokens[:-1]]
        alone = [
            runner.complete(text, max_tokens=1, adapters=each, top_logprobs=1).logprobs[0]
            for each in sets
        ]
        own = alone[sets.index(uses)]
        assert own.raw == beside.logprobs[-1].raw
        assert own.logprob == pytest.approx(beside.logprobs[-1].logprob, abs=NOISE)
        assert all(each is own or abs(each.logprob - own.logprob) > 2 * NOISE for each in alone)


def test_a_prefix_is_taken_from_the_cache_of_the_same_strengths_only(
    runner: RunnerClient, one: p.AdapterUse
) -> None:
    length = len(runner.tokenize(LONG))

    def cached(*uses: p.AdapterUse) -> int:
        return runner.complete(LONG, max_tokens=1, adapters=list(uses)).end.cached_tokens

    for uses in ([], [one], [scaled(one, 2.0)], [one, scaled(one, 2.0)]):
        assert cached(*uses) == 0
        assert cached(*uses) == length - 1
    assert cached(scaled(one, 0.0)) == length - 1
    assert cached(one) == length - 1


def test_what_does_not_fit_fails_that_request_alone(runner: RunnerClient, folder: Path) -> None:
    plain = said(runner)
    wide = random_directions(3, layers=LAYERS, width=2 * WIDTH)
    broken = FIRST | {2: np.full(WIDTH, np.nan, np.float32)}
    for name, directions, reason in (
        ("wide", wide, "direction.1 has 128 numbers, the model's layers 64"),
        ("broken", broken, "direction.2 holds numbers that are not finite"),
        ("long", random_directions(3, layers=6, width=WIDTH), "5 directions are more than the 3"),
    ):
        path = write_control_vector(folder / f"{name}.gguf", directions)
        with pytest.raises(RunnerFailure) as caught:
            said(runner, p.AdapterUse(path=str(path)))
        assert caught.value.failed.kind is p.FailureKind.BAD_MODEL
        assert f"{name}.gguf cannot be used: the file: {reason}" in caught.value.failed.message
    assert said(runner) == plain


def test_numbers_beyond_all_reason_end_no_runner(runner: RunnerClient, folder: Path) -> None:
    plain = said(runner)
    huge = {layer: np.full(WIDTH, 3e38, np.float32) for layer in FIRST}
    use = p.AdapterUse(path=str(write_control_vector(folder / "huge.gguf", huge)), scale=16.0)
    for options in (p.Sampling(temperature=0), p.Sampling(temperature=1, seed=1)):
        number = runner.start(STORY, max_tokens=4, adapters=[use, use], sampling=options)
        runner.replies(number)
    assert said(runner) == plain
