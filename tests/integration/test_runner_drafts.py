"""Drafts from the text itself: fewer steps, the same answer.

Each prompt is read once before: an answer behind a cached prompt and one behind a fresh prompt
differ in the last bits of their logits, with drafts and without.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from olmkit.engine.runner.protocol import Constraint, ConstraintKind, Sampling
from support.models import gemma3, smollm2
from support.runner import Completion, RunnerClient, loaded_runner

COLOURS = " red, green, blue, black, white, orange, purple, yellow, brown, grey, pink, gold,"
FRUITS = " apple, pear, plum, cherry, grape, lemon, lime, peach, fig, melon, berry, mango,"


@pytest.fixture(scope="module")
def client() -> Iterator[RunnerClient]:
    """A runner with two sequences, its prompts in the cache."""
    with loaded_runner(smollm2(), sequences=2, context_tokens=1024) as client:
        for text in (COLOURS, FRUITS):
            client.complete(text * 3, max_tokens=1)
        yield client


def both(client: RunnerClient, prompt: str, **fields: object) -> tuple[Completion, Completion]:
    """The same answer without drafts and with them."""
    plain = client.complete(prompt, draft_tokens=0, **fields)
    return plain, client.complete(prompt, **fields)


@pytest.mark.parametrize("model", [smollm2, gemma3])
def test_a_text_that_repeats_takes_fewer_steps_and_has_the_same_bytes(
    model: Callable[[], Path],
) -> None:
    with loaded_runner(model(), sequences=1) as client:
        client.complete(COLOURS * 3, max_tokens=1)
        before = client.health().steps
        plain = client.complete(COLOURS * 3, max_tokens=28, draft_tokens=0)
        between = client.health().steps
        drafted = client.complete(COLOURS * 3, max_tokens=28)
        after = client.health().steps
    assert drafted.tokens == plain.tokens
    assert drafted.text == plain.text
    assert drafted.end.completion_tokens == plain.end.completion_tokens == 28
    assert drafted.end.accepted_tokens > 14
    assert after - between < (between - before) / 2
    assert (plain.end.drafted_tokens, plain.end.accepted_tokens) == (0, 0)


def test_tokens_of_a_seed_are_those_without_drafts(client: RunnerClient) -> None:
    drafted_tokens = accepted_tokens = 0
    for seed in range(4):
        sampling = Sampling(temperature=1.1, seed=seed, repeat_penalty=1.02)
        plain, drafted = both(client, COLOURS * 3, sampling=sampling, max_tokens=20)
        assert drafted.tokens == plain.tokens
        drafted_tokens += drafted.end.drafted_tokens
        accepted_tokens += drafted.end.accepted_tokens
    assert 0 < accepted_tokens < drafted_tokens  # wrong ones were taken back


def test_an_answer_that_was_drafted_is_gone_on_with_from_the_cache(client: RunnerClient) -> None:
    first = client.complete(COLOURS * 3, max_tokens=30)
    assert first.end.drafted_tokens
    prompt = [*client.tokenize(COLOURS * 3), *first.tokens]
    onward = client.complete(prompt, max_tokens=20, draft_tokens=0)
    assert onward.end.cached_tokens == len(prompt) - 1
    whole = client.complete(COLOURS * 3, max_tokens=50, draft_tokens=0)
    assert first.tokens + onward.tokens == whole.tokens


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 7},
        {"max_tokens": 60, "context_tokens": 96},
        {"max_tokens": 24, "top_logprobs": 2},
        {"max_tokens": 24, "constraint": Constraint(kind=ConstraintKind.REGEX, text="[a-z, ]{20}")},
        {"max_tokens": 24, "stop": ["orange"]},
    ],
    ids=lambda fields: list(fields)[-1],
)
def test_drafts_end_where_the_answer_ends(client: RunnerClient, fields: dict[str, object]) -> None:
    plain, drafted = both(client, COLOURS * 3, **fields)
    assert drafted.tokens == plain.tokens
    assert drafted.text == plain.text
    assert drafted.end.reason == plain.end.reason
    assert drafted.end.stop_string == plain.end.stop_string
    assert [one.token for one in drafted.logprobs] == [one.token for one in plain.logprobs]
    assert drafted.end.drafted_tokens


def test_drafts_go_on_behind_a_shift_of_the_context(client: RunnerClient) -> None:
    answer = client.complete(COLOURS * 3, max_tokens=70, shift=True, context_tokens=100)
    assert answer.end.shifted_tokens > 0
    assert answer.end.completion_tokens == len(answer.tokens) == 70
    assert answer.end.accepted_tokens > 30


def test_requests_beside_each_other_are_drafted_too(client: RunnerClient) -> None:
    prompts = [COLOURS * 3, FRUITS * 3]
    beside = client.complete_all(prompts, max_tokens=30)
    assert all(one.end.accepted_tokens for one in beside)
    assert all(one.end.completion_tokens == 30 for one in beside)


def test_a_reproducible_request_is_never_drafted(client: RunnerClient) -> None:
    answer = client.complete(COLOURS * 3, max_tokens=20, reproducible=True)
    assert answer.end.drafted_tokens == 0
