"""Several LoRA adapters over one loaded model, chosen by each request."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.engine.runner import protocol as p
from olmkit.engine.runner.decoding.adaptersets import MOST_ADAPTERS
from support.adapters import write_adapter
from support.models import smollm2
from support.runner import Completion, RunnerClient, RunnerFailure, loaded_runner

STORY = "Once upon a time, there was"
LONG = "A list of colours: " + "red, green, blue, black, white, orange, purple, yellow, " * 4
TOP = 20
"""Rivals by which two distributions are compared: other batches change the last bits of logits."""


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> p.AdapterUse:
    path = write_adapter(tmp_path_factory.mktemp("one") / "one.gguf", seed=1)
    return p.AdapterUse(path=str(path))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> p.AdapterUse:
    path = write_adapter(tmp_path_factory.mktemp("two") / "two.gguf", seed=2)
    return p.AdapterUse(path=str(path))


@pytest.fixture(scope="module")
def runner() -> Iterator[RunnerClient]:
    with loaded_runner(smollm2(), context_tokens=1024, sequences=4) as client:
        yield client


def distance(first: Completion, second: Completion) -> float:
    """The mean difference of log-probabilities at the last tokens, among the likeliest of both."""
    ours, theirs = (
        {entry.token: entry.logprob for entry in each.logprobs[-1].top} for each in (first, second)
    )
    low = min(*ours.values(), *theirs.values())
    tokens = ours.keys() | theirs.keys()
    return sum(abs(ours.get(one, low) - theirs.get(one, low)) for one in tokens) / len(tokens)


def answer(runner: RunnerClient, *uses: p.AdapterUse) -> Completion:
    return runner.complete(STORY, max_tokens=1, adapters=list(uses), top_logprobs=TOP)


def test_an_adapter_of_a_request_is_that_of_a_load(
    runner: RunnerClient, one: p.AdapterUse, two: p.AdapterUse
) -> None:
    plain, first, second = answer(runner), answer(runner, one), answer(runner, two)
    apart = min(distance(plain, first), distance(plain, second), distance(first, second)) / 2
    assert distance(answer(runner), plain) < apart
    for use, expected in ((one, first), (two, second)):
        with RunnerClient() as client:
            client.load(smollm2(), adapters=[Path(use.path)])
            loaded = client.complete(STORY, max_tokens=1, top_logprobs=TOP)
            assert distance(loaded, expected) < apart
            assert distance(answer(client), plain) < apart


def test_a_scale_is_the_strength_and_nothing_is_no_adapter(
    runner: RunnerClient, one: p.AdapterUse
) -> None:
    plain, whole = answer(runner), answer(runner, one)
    apart = distance(plain, whole) / 2
    assert distance(answer(runner, p.AdapterUse(path=one.path, scale=0.0)), plain) < apart
    turned = answer(runner, p.AdapterUse(path=one.path, scale=-1.0))
    assert min(distance(turned, whole), distance(turned, plain)) > apart / 4


def test_sets_beside_each_other_take_turns_to_the_last_token(
    runner: RunnerClient, one: p.AdapterUse, two: p.AdapterUse
) -> None:
    """Each answer's last token is as likely as its own set, alone, says behind the same text."""
    sets: list[list[p.AdapterUse]] = [[], [one], [two], [one]]
    prompt = runner.tokenize(STORY)
    ids = [
        runner.start(prompt, max_tokens=24, adapters=uses, top_logprobs=TOP, ignore_eos=True)
        for uses in sets
    ]
    found = runner.replies(*ids)
    for number, uses in zip(ids, sets, strict=True):
        beside = Completion(found[number])
        assert len(beside.tokens) == 24
        text = [*prompt, *beside.tokens[:-1]]
        alone = [
            runner.complete(text, max_tokens=1, adapters=each, top_logprobs=TOP)
            for each in sets[:3]
        ]
        distances = [distance(beside, each) for each in alone]
        assert sets[distances.index(min(distances))] == uses


def test_a_prefix_is_taken_from_the_cache_of_the_same_set_only(
    runner: RunnerClient, one: p.AdapterUse, two: p.AdapterUse
) -> None:
    length = len(runner.tokenize(LONG))
    fresh, other, again = (
        runner.complete(LONG, max_tokens=1, adapters=[use], top_logprobs=TOP)
        for use in (one, two, one)
    )
    assert (fresh.end.cached_tokens, other.end.cached_tokens) == (0, 0)
    assert again.end.cached_tokens == length - 1
    assert distance(fresh, again) < distance(fresh, other) / 2
    both = [runner.start(LONG + "teal,", max_tokens=4, adapters=[use]) for use in (one, two)]
    found = {each: Completion(replies) for each, replies in runner.replies(*both).items()}
    assert all(each.end.cached_tokens >= length - 1 for each in found.values())


def test_more_adapters_than_lie_over_a_model_come_and_go(
    runner: RunnerClient, one: p.AdapterUse, tmp_path: Path
) -> None:
    first, plain = answer(runner, one), answer(runner)
    apart = distance(first, plain) / 2
    for seed in range(MOST_ADAPTERS + 1):
        path = write_adapter(tmp_path / f"{seed}.gguf", seed=100 + seed)
        assert answer(runner, p.AdapterUse(path=str(path))).tokens
    assert distance(answer(runner, one), first) < apart
    assert distance(answer(runner), plain) < apart


def test_an_adapter_that_does_not_fit_fails_that_request_alone(
    runner: RunnerClient, tmp_path: Path
) -> None:
    wide = write_adapter(tmp_path / "wide.gguf", seed=3, width=64)
    with pytest.raises(RunnerFailure, match=r"wide\.gguf") as caught:
        answer(runner, p.AdapterUse(path=str(wide)))
    assert caught.value.failed.kind is p.FailureKind.BAD_MODEL
    assert answer(runner).tokens


def test_a_reproducible_request_has_its_adapters(runner: RunnerClient, one: p.AdapterUse) -> None:
    plain = runner.complete(STORY, max_tokens=12, adapters=[], reproducible=True)
    first = runner.complete(STORY, max_tokens=12, adapters=[one], reproducible=True)
    assert first.text != plain.text
    assert runner.complete(STORY, max_tokens=12, adapters=[one], reproducible=True).text == (
        first.text
    )
