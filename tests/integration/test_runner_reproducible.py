"""Requests that ask for the same bits every time get them, whatever ran before or waits beside."""

import random
from pathlib import Path

import pytest

from olmkit.engine.runner import protocol as p
from support.models import tiny_chat
from support.randommodel import write_llama, write_window
from support.runner import Completion, RunnerClient, loaded_runner

SEEDED = p.Sampling(seed=7, temperature=0.8)


def story(days: int) -> str:
    """About 14 tokens a day."""
    return "Once upon a time there was a lighthouse keeper who counted the waves: " + ", ".join(
        f"{number * 37 % 101} waves on day {number}" for number in range(1, days + 1)
    )


SHORT = story(5)
"""Three batches of what is asked for in words, six in bytes."""
LONG = story(20)
"""With half of it once more it is longer than the sliding window, in bytes."""


def ask(client: RunnerClient, *, text: str = SHORT, seeded: bool = True) -> int:
    """Starts the request whose answer must not change."""
    sampling = SEEDED if seeded else p.Sampling(temperature=0)
    return client.start(
        text, sampling=sampling, max_tokens=6, top_logprobs=2, reproducible=True, batch_tokens=32
    )


def bits(one: Completion) -> tuple[object, ...]:
    """All that the answer is: tokens, text and log-probabilities to the last bit."""
    rivals = [[(other.raw, other.logprob) for other in entry.top] for entry in one.logprobs]
    return (one.tokens, one.text, [entry.logprob for entry in one.logprobs], rivals)


def disturb(client: RunnerClient, choice: random.Random, text: str) -> list[int]:
    """Brings the cache into another state; returns requests that still run."""
    length = choice.randrange(20, len(text))
    match choice.randrange(5):
        case 0:
            client.complete(text[:length], max_tokens=4, ignore_eos=True)
        case 1:
            client.complete(text + text[:length], max_tokens=2, ignore_eos=True)
        case 2:
            client.complete(text[length:], max_tokens=2, ignore_eos=True)
        case 3:
            client.complete_all([text[:length], text[length:], "hello"], max_tokens=3)
        case _:
            return [
                client.start(text[:length], max_tokens=12, ignore_eos=True),
                client.start("Roses are red", max_tokens=12, ignore_eos=True),
            ]
    return []


@pytest.mark.parametrize(("model", "runs"), [("random", 25), ("real", 6)])
def test_all_runs_in_every_state_of_the_cache_give_the_same_bits(
    model: str, runs: int, tmp_path: Path
) -> None:
    choice = random.Random(1)
    path = tiny_chat() if model == "real" else write_llama(tmp_path / "tiny.gguf")
    with loaded_runner(path, context_tokens=4096) as client:
        found = set()
        for _ in range(runs):
            others = disturb(client, choice, SHORT)
            mine = ask(client)
            late = client.start(SHORT[:99], max_tokens=2)
            replies = client.replies(mine, late, *others)
            one = Completion(replies[mine])
            assert one.end.cached_tokens == 0
            found.add(repr(bits(one)))
    assert len(found) == 1
    with loaded_runner(path, context_tokens=1024, batch_tokens=512) as client:
        # Nor does it matter what the model was loaded with beyond what was asked for.
        assert {repr(bits(Completion(client.replies(ask(client)).popitem()[1])))} == found


def test_a_sliding_window_gives_the_same_bits_too(tmp_path: Path) -> None:
    choice = random.Random(2)
    path = write_window(tmp_path / "window.gguf")
    with loaded_runner(path, context_tokens=2048) as client:
        found = set()
        for _ in range(4):
            others = disturb(client, choice, LONG)
            mine = ask(client, text=LONG, seeded=False)
            found.add(repr(bits(Completion(client.replies(mine, *others)[mine]))))
    assert len(found) == 1


def test_who_comes_after_a_reproducible_request_waits_and_is_served() -> None:
    with loaded_runner(tiny_chat(), context_tokens=2048) as client:
        first, second, third = ask(client), ask(client), client.start("One two", max_tokens=3)
        order: list[int] = []
        while len(order) < 3:
            reply = client.next_reply()
            if isinstance(reply, p.Completed):
                order.append(reply.id)
        assert order == [first, second, third]
