"""Prompts that were worked on before: their states leave the KV pool and come back."""

from pathlib import Path

import pytest

from support.models import tiny_chat
from support.randommodel import write_llama, write_window
from support.runner import RunnerClient, loaded_runner


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, for tests that only count."""
    return write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf")


def topics(client: RunnerClient, count: int, *, lines: int) -> list[list[int]]:
    """Prompts of the same kind that share no beginning."""
    return [
        client.tokenize(f"{topic} " + " ".join(f"{topic * line + 7}," for line in range(1, lines)))
        for topic in range(11, 11 + count)
    ]


def test_a_prompt_from_many_requests_ago_computes_one_token_and_gives_the_same_text() -> None:
    with loaded_runner(tiny_chat(), sequences=2, context_tokens=1024) as client:
        prompts = topics(client, 4, lines=30)
        first = [client.complete(prompt, max_tokens=6) for prompt in prompts]
        again = [client.complete(prompt, max_tokens=6) for prompt in prompts]
        assert all(
            one.end.cached_tokens == len(p) - 1 for one, p in zip(again, prompts, strict=True)
        )
        assert [one.text for one in again] == [one.text for one in first]
        assert len({one.text for one in first}) == len(prompts)


def test_what_is_idle_leaves_the_pool_to_who_comes(tiny: Path) -> None:
    with loaded_runner(tiny, sequences=4, context_tokens=512) as client:
        for start in range(40, 44):
            client.complete(list(range(start, start + 60)), max_tokens=1)
            assert client.health().cached_tokens == 60


def test_a_conversation_goes_on_after_others_had_its_slot(tiny: Path) -> None:
    with loaded_runner(tiny, sequences=1, context_tokens=512) as client:
        first = client.complete(list(range(40, 100)), max_tokens=8, ignore_eos=True)
        for start in range(100, 103):
            client.complete(list(range(start, start + 60)), max_tokens=1)
        longer = [*range(40, 100), *first.tokens, 33, 34, 35]
        onward = client.complete(longer, max_tokens=8, ignore_eos=True)
        assert onward.end.cached_tokens == len(longer) - 4
    with loaded_runner(tiny, sequences=1, context_tokens=512) as client:
        assert client.complete(longer, max_tokens=8, ignore_eos=True).tokens == onward.tokens


def test_a_shared_beginning_serves_many_and_stays(tiny: Path) -> None:
    with loaded_runner(tiny, sequences=1, context_tokens=512) as client:
        shared, whole = list(range(40, 100)), list(range(40, 200))
        client.complete(whole, max_tokens=1)
        for other in range(200, 203):
            branch = client.complete([*shared, other, other, other], max_tokens=1)
            assert branch.end.cached_tokens == len(shared)
        assert client.complete(whole, max_tokens=1).end.cached_tokens == len(whole) - 1


def test_the_oldest_states_go_when_the_budget_is_spent(tiny: Path) -> None:
    prompts = [list(range(start, start + 60)) for start in range(40, 46)]
    with loaded_runner(tiny, sequences=1, prompt_cache_bytes=0) as client:
        for prompt in prompts:
            client.complete(prompt, max_tokens=1)
        cached = [client.complete(prompt, max_tokens=1).end.cached_tokens for prompt in prompts]
        assert cached == [0] * len(prompts)
    with loaded_runner(tiny, sequences=1, prompt_cache_bytes=200_000) as client:
        for prompt in prompts:
            client.complete(prompt, max_tokens=1)
        newest_first = [
            client.complete(prompt, max_tokens=1).end.cached_tokens for prompt in reversed(prompts)
        ]
        assert newest_first[0] == newest_first[1] == 59
        assert newest_first[-1] == 0


def test_a_sliding_window_comes_back_to_the_end_of_a_prompt_with_the_same_text(
    tmp_path: Path,
) -> None:
    """512 tokens are kept in most layers: the state behind a prompt is copied."""
    path = write_window(tmp_path / "window.gguf")
    exact = {"kv_cache_type": "f32", "flash_attention": False, "context_tokens": 1536}
    with loaded_runner(path, sequences=1, **exact) as client:
        prompts = topics(client, 2, lines=150)
        assert all(len(prompt) > 600 for prompt in prompts)
        first = [client.complete(prompt, max_tokens=12, ignore_eos=True) for prompt in prompts]
        again = [client.complete(prompt, max_tokens=12, ignore_eos=True) for prompt in prompts]
        assert [one.end.cached_tokens for one in first] == [0, 0]
        assert [one.end.cached_tokens for one in again] == [len(prompt) - 1 for prompt in prompts]
        assert [one.tokens for one in again] == [one.tokens for one in first]
        onward = [*prompts[0], *again[0].tokens]
        longer = client.complete(onward, max_tokens=12, ignore_eos=True)
        assert longer.end.cached_tokens >= len(prompts[0]) - 1
    with loaded_runner(path, sequences=1, **exact) as client:
        fresh = client.complete(onward, max_tokens=12, ignore_eos=True)
    assert fresh.tokens == longer.tokens
