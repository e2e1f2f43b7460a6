"""A context that is full: what a request may have of it, and what goes when it must go on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.engine.runner import protocol as p
from support.models import minilm_gguf, smollm2
from support.randommodel import write_llama, write_mamba, write_window
from support.runner import RunnerClient, RunnerFailure, loaded_runner


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, for tests that only count."""
    return write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(scope="module")
def runner(tiny: Path) -> Iterator[RunnerClient]:
    with loaded_runner(tiny, context_tokens=256) as client:
        yield client


def test_a_request_gets_no_more_of_the_context_than_it_asks_for(runner: RunnerClient) -> None:
    one = runner.complete(list(range(40, 60)), context_tokens=64, ignore_eos=True)
    assert one.end.reason is p.EndReason.LENGTH
    assert one.end.prompt_tokens + one.end.completion_tokens == 64
    with pytest.raises(RunnerFailure) as refused:
        runner.complete(list(range(40, 110)), context_tokens=64)
    failed = refused.value.failed
    assert (failed.given_tokens, failed.limit_tokens) == (70, 64)
    most = runner.complete(list(range(40, 60)), context_tokens=100_000, ignore_eos=True)
    assert most.end.prompt_tokens + most.end.completion_tokens == 256


def test_a_prompt_that_is_too_long_keeps_its_beginning_and_its_end(runner: RunnerClient) -> None:
    prompt = list(range(40, 240))
    cut = runner.complete(
        prompt, context_tokens=64, truncate=True, keep_tokens=8, max_tokens=4, ignore_eos=True
    )
    # 8 tokens stay; of the other 56, half is left free for the answer.
    kept = prompt[:8] + prompt[-28:]
    assert (cut.end.prompt_tokens, cut.end.dropped_tokens) == (len(kept), 200 - len(kept))
    assert cut.tokens == runner.complete(kept, max_tokens=4, ignore_eos=True).tokens


@pytest.mark.parametrize("keep_tokens", [-1, 0, 4, 63, 10**6])
@pytest.mark.parametrize("context_tokens", [4, 5, 64])
def test_every_number_of_tokens_to_keep_leaves_room(
    runner: RunnerClient, keep_tokens: int, context_tokens: int
) -> None:
    one = runner.complete(
        list(range(40, 120)),
        context_tokens=context_tokens,
        truncate=True,
        shift=True,
        keep_tokens=keep_tokens,
        max_tokens=100,
        ignore_eos=True,
    )
    assert one.end.completion_tokens == 100
    assert one.end.prompt_tokens < context_tokens
    assert one.end.shifted_tokens > 0


def test_an_answer_goes_on_when_the_context_is_full(runner: RunnerClient) -> None:
    prompt = list(range(40, 80))
    one = runner.complete(prompt, shift=True, max_tokens=600, ignore_eos=True)
    assert (one.end.completion_tokens, one.end.reason) == (600, p.EndReason.LENGTH)
    assert len(one.tokens) == 600
    assert one.end.shifted_tokens > 0
    endless = runner.complete(prompt, context_tokens=64, shift=True, ignore_eos=True)
    assert endless.end.completion_tokens == 640
    refused = runner.complete(prompt, max_tokens=600, ignore_eos=True)
    assert refused.end.completion_tokens == 256 - 40
    assert refused.end.shifted_tokens == 0


def test_text_after_a_shift_still_follows_from_what_is_kept() -> None:
    with loaded_runner(smollm2(), context_tokens=96) as client:
        prompt = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21"
        one = client.complete(
            prompt, shift=True, max_tokens=150, sampling=p.Sampling(temperature=0)
        )
        assert one.end.shifted_tokens > 0
        assert " 22 23 24 25 26" in one.text
        assert len(one.text.split()) > 45


def test_what_was_computed_before_a_shift_is_not_taken_for_another_prompt(tiny: Path) -> None:
    exact = {"kv_cache_type": "f32", "flash_attention": False}
    with loaded_runner(tiny, sequences=1, context_tokens=64, **exact) as client:
        one = client.complete(list(range(40, 60)), shift=True, max_tokens=100, ignore_eos=True)
        rest = [*range(40, 44), *one.tokens[-30:]]
        again = client.complete(rest, max_tokens=16, ignore_eos=True)
    with loaded_runner(tiny, sequences=1, context_tokens=64, **exact) as client:
        assert client.complete(rest, max_tokens=16, ignore_eos=True).tokens == again.tokens


@pytest.mark.parametrize("kind", ["window", "recurrent"])
def test_a_cache_that_cannot_move_is_computed_again(tmp_path: Path, kind: str) -> None:
    write = write_window if kind == "window" else write_mamba
    path = write(tmp_path / "model.gguf")
    with loaded_runner(path, context_tokens=96) as client:
        one = client.complete(list(range(40, 80)), shift=True, max_tokens=150, ignore_eos=True)
        assert one.end.completion_tokens == 150
        assert one.end.shifted_tokens > 0


def test_neighbours_of_a_shifted_request_get_what_they_get_alone(tiny: Path) -> None:
    exact = {"kv_cache_type": "f32", "flash_attention": False, "context_tokens": 256}
    prompts = [list(range(start, start + 30)) for start in (40, 90, 140)]
    with loaded_runner(tiny, sequences=1, **exact) as client:
        alone = [client.complete(one, max_tokens=60, ignore_eos=True).tokens for one in prompts]
    with loaded_runner(tiny, sequences=4, **exact) as client:
        shifted = client.start(
            list(range(50, 80)), context_tokens=64, shift=True, max_tokens=200, ignore_eos=True
        )
        ids = [client.start(one, max_tokens=60, ignore_eos=True) for one in prompts]
        found = client.replies(shifted, *ids)
    for one, expected in zip(ids, alone, strict=True):
        tokens = [t for reply in found[one] if isinstance(reply, p.Piece) for t in reply.tokens]
        assert tokens == expected


def test_an_embedding_is_cut_to_the_context_that_was_asked_for() -> None:
    with loaded_runner(minilm_gguf(), embedding=True) as client:

        def embed(text: str, **fields: object) -> p.Embedded:
            request = p.Embedding(id=client.new_id(), inputs=[text], **fields)  # type: ignore[arg-type]
            return client.call(request, p.Embedded)

        cut = embed("one two three four", context_tokens=4)
        assert cut.prompt_tokens == 4
        assert cut.vectors == embed("one two").vectors
        with pytest.raises(RunnerFailure) as refused:
            embed("one two three four", context_tokens=4, truncate=False)
        assert (refused.value.failed.given_tokens, refused.value.failed.limit_tokens) == (6, 4)


def test_a_phrase_that_fills_the_context_ends_an_answer_without_a_limit() -> None:
    with loaded_runner(smollm2(), context_tokens=160) as client:
        prompt = "la femme au roi, la femme au roi, la femme au roi, la femme au roi,"
        one = client.complete(prompt, shift=True)
        assert one.end.reason is p.EndReason.REPEAT_LIMIT
        assert one.end.completion_tokens < 160
        # Who asks for so many tokens gets them.
        more = client.complete(prompt, shift=True, max_tokens=180)
        assert (more.end.completion_tokens, more.end.reason) == (180, p.EndReason.LENGTH)
