"""Prompts with one beginning: it is computed once and lies in the pool once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from olmkit.engine.runner import protocol
from olmkit.engine.runner.promptcache.parked import LEAST_TOKENS
from support.models import gemma3, tiny_chat
from support.randommodel import write_llama
from support.runner import Completion, RunnerClient, loaded_runner

PREFIX = list(range(40, 140))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, for tests that only count."""
    return write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf")


def prompt(number: int) -> list[int]:
    return [*PREFIX, 200 + number, 30]


def together(client: RunnerClient, prompts: list[list[int]], **fields: object) -> list[Completion]:
    ids = [client.start(one, ignore_eos=True, **fields) for one in prompts]
    replies = client.replies(*ids)
    return [Completion(replies[one]) for one in ids]


def test_requests_that_come_together_compute_their_beginning_once(tiny: Path) -> None:
    with loaded_runner(tiny, sequences=8, context_tokens=512, batch_tokens=32) as client:
        answers = together(client, [prompt(number) for number in range(8)], max_tokens=4)
        cached = sorted(answer.end.cached_tokens for answer in answers)
        assert cached == [0] + [len(PREFIX)] * 7
        assert {answer.end.prompt_tokens for answer in answers} == {len(PREFIX) + 2}


def test_a_shared_beginning_takes_its_room_once(tiny: Path) -> None:
    with loaded_runner(tiny, sequences=4, context_tokens=256, batch_tokens=32) as client:
        waiting = {client.start(prompt(n), max_tokens=30, ignore_eos=True) for n in range(4)}
        while waiting:  # four prompts of 102 tokens fit only if they share
            reply = client.next_reply()
            assert not isinstance(reply, protocol.Completed), "one had to wait for another's end"
            if isinstance(reply, protocol.Piece):
                waiting.discard(reply.id)


def test_a_request_that_comes_later_shares_with_one_that_runs(tiny: Path) -> None:
    with loaded_runner(tiny, sequences=2, context_tokens=512) as client:
        client.start(prompt(1), max_tokens=300, ignore_eos=True)
        while not isinstance(client.next_reply(), protocol.Piece):
            pass
        assert client.complete(prompt(2), max_tokens=4).end.cached_tokens == len(PREFIX)


@pytest.mark.parametrize("ended", ["finished", "cancelled"])
def test_the_one_that_computes_the_beginning_may_end_before_it_is_used(
    tiny: Path, ended: str
) -> None:
    with loaded_runner(tiny, sequences=4, context_tokens=512, batch_tokens=32) as client:
        leader = client.start(prompt(0), max_tokens=1, ignore_eos=True)
        others = [client.start(prompt(n), max_tokens=8, ignore_eos=True) for n in (1, 2, 3)]
        if ended == "cancelled":
            client.cancel(leader)
        replies = client.replies(*others)
        found = [Completion(replies[one]).end.cached_tokens for one in others]
        # Who comes when most of it is there computes the few tokens that are missing.
        shared = [tokens for tokens in found if len(PREFIX) - LEAST_TOKENS < tokens]
        assert len(shared) >= (3 if ended == "finished" else 2)
        assert all(len(Completion(replies[one]).tokens) == 8 for one in others)


def test_what_others_share_is_not_moved_when_one_forgets_its_half(tiny: Path) -> None:
    with loaded_runner(tiny, sequences=2, context_tokens=160) as client:
        alone = client.complete(prompt(1), max_tokens=12, ignore_eos=True, context_tokens=159)
    with loaded_runner(tiny, sequences=2, context_tokens=320) as client:
        shifting = client.start(
            prompt(0), max_tokens=90, ignore_eos=True, shift=True, context_tokens=110
        )
        other = client.start(prompt(1), max_tokens=12, ignore_eos=True)
        replies = client.replies(shifting, other)
        assert Completion(replies[other]).tokens == alone.tokens
        assert Completion(replies[shifting]).end.shifted_tokens > 0


@pytest.mark.parametrize("model", [tiny_chat, gemma3])
def test_an_answer_is_the_same_beside_others_with_its_beginning(
    model: Callable[[], Path],
) -> None:
    text = "The history of the sea and of the people who sail it begins long before writing. " * 5
    prompts = [f"{text}Question {number}: what is {number} plus {number}?" for number in range(3)]
    with loaded_runner(model(), sequences=4, context_tokens=1024) as client:
        ids = [client.start(one, max_tokens=8) for one in prompts]
        replies = client.replies(*ids)
        shared = [Completion(replies[one]) for one in ids]
        assert [one.end.cached_tokens > 50 for one in shared] == [False, True, True]
    with loaded_runner(model(), sequences=1, context_tokens=1024) as client:
        alone = [client.complete(one, max_tokens=8) for one in prompts]
    assert [one.text for one in shared] == [one.text for one in alone]
