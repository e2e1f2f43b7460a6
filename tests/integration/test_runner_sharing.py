"""Several requests in one pool: reuse of prefixes, waiting, growth, cancellation, pace."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.engine.runner import protocol as p
from support.models import gemma3, smollm2
from support.randommodel import write_llama, write_mamba, write_window
from support.runner import Completion, RunnerClient, RunnerFailure, loaded_runner


def count(first: int, last: int) -> str:
    """A prompt that any model goes on with, a token or more a number."""
    return " ".join(map(str, range(first, last)))


COUNT = count(1, 60)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, for tests that only count."""
    return write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(scope="module")
def single() -> Iterator[RunnerClient]:
    """One sequence: every request finds what the one before left."""
    with loaded_runner(smollm2(), sequences=1, context_tokens=2048) as client:
        yield client


# --- prefixes --------------------------------------------------------------------------------


def test_the_same_prompt_again_computes_one_token_and_gives_the_same_text(
    single: RunnerClient,
) -> None:
    first = single.complete(COUNT, max_tokens=12)
    again = single.complete(COUNT, max_tokens=12)
    assert again.end.cached_tokens == first.end.prompt_tokens - 1
    assert again.end.prompt_tokens == first.end.prompt_tokens
    assert again.text == first.text


def test_a_conversation_goes_on_from_what_is_there(single: RunnerClient) -> None:
    first = single.complete("abc " + COUNT, max_tokens=8)
    tokens = single.tokenize("abc " + COUNT) + first.tokens
    more = single.complete([*tokens, *single.tokenize(" and so on")], max_tokens=2)
    # The last token of the answer was sampled but never computed.
    assert more.end.cached_tokens == len(tokens) - 1


def test_only_the_shared_beginning_is_taken(single: RunnerClient) -> None:
    single.complete([300, 301, 302, 303, 304, 305], max_tokens=1)
    other = single.complete([300, 301, 302, 700, 701, 702], max_tokens=1)
    assert other.end.cached_tokens == 3
    assert single.complete([900, 901], max_tokens=1).end.cached_tokens == 0


def test_each_conversation_finds_its_own_slot(tiny: Path) -> None:
    with loaded_runner(tiny, sequences=2) as client:
        sea, mountain, river = list(range(10, 40)), list(range(60, 90)), list(range(120, 150))
        for prompt, cached in ((sea, 0), (mountain, 0), (sea, 29), (mountain, 29), (sea, 29)):
            assert client.complete(prompt, max_tokens=2).end.cached_tokens == cached
        # A third takes the slot that has been idle for longest.
        client.complete(river, max_tokens=2)
        assert client.complete(sea, max_tokens=2).end.cached_tokens == 29
        assert client.complete(mountain, max_tokens=2).end.cached_tokens == 0


def test_a_sliding_window_is_used_where_it_holds_and_recomputed_where_it_has_gone(
    tmp_path: Path,
) -> None:
    """Most layers see 512 tokens back; the cache keeps no more of a sequence for them."""
    path = write_window(tmp_path / "window.gguf")
    exact = {"kv_cache_type": "f32", "flash_attention": False, "batch_tokens": 64}
    with loaded_runner(path, sequences=1, context_tokens=1536, **exact) as client:
        prompt = client.tokenize(count(1, 230))
        assert len(prompt) > 512 + 256
        first = client.complete(prompt, max_tokens=16, ignore_eos=True)
        longer = prompt + first.tokens
        onward = client.complete(longer, max_tokens=16, ignore_eos=True)
        assert onward.end.cached_tokens == len(longer) - 1
        back = client.complete(prompt[:200], max_tokens=16, ignore_eos=True)
        assert back.end.cached_tokens == 0
        short = client.complete(prompt[:210], max_tokens=16, ignore_eos=True)
        assert short.end.cached_tokens >= 200
    with loaded_runner(
        path, sequences=1, context_tokens=1536, prompt_cache_bytes=0, **exact
    ) as client:
        for tokens, cached in ((longer, onward), (prompt[:200], back), (prompt[:210], short)):
            client.complete([5, 6, 7], max_tokens=1)  # so that nothing is shared
            fresh = client.complete(tokens, max_tokens=16, ignore_eos=True)
            assert fresh.end.cached_tokens <= 1
            assert fresh.tokens == cached.tokens
    assert len({tuple(one.tokens) for one in (first, onward, back, short)}) == 4


def test_a_real_model_goes_on_behind_its_sliding_window() -> None:
    """Gemma 3, whose window has 512 tokens: it still counts on from what the cache has."""
    with loaded_runner(gemma3(), sequences=1, context_tokens=1024) as client:
        prompt = client.tokenize(count(1, 165))
        assert len(prompt) > 512
        first = client.complete(prompt, max_tokens=12)
        assert "165 166" in first.text
        longer = prompt + first.tokens
        onward = client.complete(longer, max_tokens=5)
        assert onward.end.cached_tokens == len(longer) - 1
        assert "167 168" in first.text + onward.text


def test_a_recurrent_state_goes_on_and_back_only_to_the_end_of_a_prompt(tmp_path: Path) -> None:
    path = write_mamba(tmp_path / "mamba.gguf")
    prompt = list(range(3, 203))
    with loaded_runner(path, sequences=2, context_tokens=512) as client:
        first = client.complete(prompt, max_tokens=16, ignore_eos=True)
        longer = prompt + first.tokens
        onward = client.complete(longer, max_tokens=16, ignore_eos=True)
        assert onward.end.cached_tokens == len(longer) - 1
        back = client.complete(prompt[:150], max_tokens=16, ignore_eos=True)
        assert back.end.cached_tokens == 0
        again = client.complete(prompt[:150], max_tokens=16, ignore_eos=True)
        assert again.end.cached_tokens == 149  # the state at the end of the prompt was kept
        together = client.complete_all(["a", "b", "c"], max_tokens=8, ignore_eos=True)
        assert all(one.end.completion_tokens == 8 for one in together)
    with loaded_runner(path, sequences=1, context_tokens=512, prompt_cache_bytes=0) as client:
        for tokens, cached in ((longer, onward), (prompt[:150], back), (prompt[:150], again)):
            client.complete([1], max_tokens=1)  # so that nothing is shared
            fresh = client.complete(tokens, max_tokens=16, ignore_eos=True)
            assert fresh.end.cached_tokens == 0
            assert fresh.tokens == cached.tokens


# --- the queue and the pool ------------------------------------------------------------------


def test_requests_over_the_slots_wait_in_order(tiny: Path) -> None:
    with loaded_runner(tiny, sequences=2) as client:
        ids = [client.start([40 + index], max_tokens=6, ignore_eos=True) for index in range(5)]
        ends: list[int] = []
        while len(ends) < len(ids):
            reply = client.next_reply()
            if isinstance(reply, p.Completed):
                ends.append(reply.id)
        assert ends == ids


@pytest.mark.parametrize("batch_tokens", [8, 512])
def test_a_crowd_gives_each_what_it_gets_alone(tiny: Path, batch_tokens: int) -> None:
    """Requests wait, outgrow the pool, are suspended and go on; all is exact in float32."""
    exact = {"kv_cache_type": "f32", "flash_attention": False, "batch_tokens": batch_tokens}
    prompts = [
        "".join(chr(97 + (index * step) % 26) for index in range(9 * step + 1))
        for step in range(1, 12)
    ]
    with loaded_runner(tiny, sequences=1, context_tokens=256, **exact) as client:
        alone = [client.complete(prompt, max_tokens=90, ignore_eos=True) for prompt in prompts]
    with loaded_runner(tiny, sequences=4, context_tokens=256, **exact) as client:
        together = client.complete_all(prompts, max_tokens=90, ignore_eos=True)
        health = client.health()
    assert [one.tokens for one in together] == [one.tokens for one in alone]
    assert all(one.end.reason is p.EndReason.LENGTH for one in together)
    assert len({tuple(one.tokens) for one in together}) == len(prompts)
    assert health.cached_tokens <= 256


def test_one_request_may_fill_the_whole_context(tiny: Path) -> None:
    with loaded_runner(tiny, context_tokens=128) as client:
        for one in client.complete_all(["One day", "Roses"], ignore_eos=True):
            assert one.end.reason is p.EndReason.LENGTH
            assert one.end.prompt_tokens + one.end.completion_tokens == 128
        assert client.health().cached_tokens <= 128


def test_requests_that_wait_for_room_say_so(tiny: Path) -> None:
    """One context for all: requests that each take most of it run one after the other."""
    prompts = [[first, *range(50, 249)] for first in (40, 41, 42, 43)]
    with loaded_runner(tiny, sequences=4, context_tokens=256) as client:
        ids = [client.start(prompt, max_tokens=30, ignore_eos=True) for prompt in prompts]
        while not isinstance(client.next_reply(), p.PromptRead):
            pass
        assert any(client.health().short_requests for _ in range(1000))  # once they were tried
        found = client.replies(*ids[1:])
        waits = [Completion(found[one]).end.room_wait_ns for one in ids[1:]]
        assert sorted(waits) == waits
        assert waits[0] > 0
        assert client.health().short_requests == 0


def test_a_pool_with_a_context_for_each_makes_nobody_wait(tiny: Path) -> None:
    prompts = [[first, *range(50, 249)] for first in (40, 41, 42, 43)]
    with loaded_runner(tiny, sequences=4, contexts=4, context_tokens=256) as client:
        ids = [client.start(prompt, ignore_eos=True) for prompt in prompts]
        ends = [Completion(found).end for found in client.replies(*ids).values()]
        assert [one.room_wait_ns for one in ends] == [0] * 4
        for end in ends:  # none has more than its own
            assert end.reason is p.EndReason.LENGTH
            assert end.prompt_tokens + end.completion_tokens == 256
        with pytest.raises(RunnerFailure, match="the context holds 256"):
            client.complete([50] * 300)


def test_old_conversations_give_way_to_running_ones(tiny: Path) -> None:
    with loaded_runner(tiny, context_tokens=128) as client:
        for start in range(50, 53):
            client.complete(list(range(start, start + 40)), max_tokens=1)
        assert client.health().cached_tokens == 40  # the others have left the pool
        one = client.complete(list(range(150, 210)), max_tokens=30, ignore_eos=True)
        assert one.end.completion_tokens == 30
        assert client.health().cached_tokens <= 128


def test_a_long_prompt_does_not_stop_the_text_of_others() -> None:
    with loaded_runner(smollm2(), context_tokens=2048) as client:
        talker = client.start("Once upon a time", ignore_eos=True)
        while not isinstance(client.next_reply(), p.Piece):
            pass
        reader = client.start(list(range(1000, 2240)), max_tokens=1)
        found: list[p.Reply] = []
        while not (found and isinstance(found[-1], p.Completed) and found[-1].id == reader):
            found.append(client.next_reply())
        progress = [one.processed_tokens for one in found if isinstance(one, p.PromptProgress)]
        assert progress == sorted(set(progress))
        assert progress[-1] < 1240
        talked = [index for index, one in enumerate(found) if one.id == talker]
        assert len(talked) >= len(progress) > 1
        client.cancel(talker)


# --- cancellation and health -----------------------------------------------------------------


def test_a_cancelled_completion_ends_by_the_next_step(tiny: Path) -> None:
    with loaded_runner(tiny) as client:
        one = client.start("Once upon a time", ignore_eos=True)
        replies = [client.next_reply() for _ in range(2)]  # the second one is the first token
        client.cancel(one)
        replies += client.replies(one)[one]
        end = Completion(replies).end
        assert end.reason is p.EndReason.CANCELLED
        assert end.completion_tokens < 100
        health = client.health()
        assert (health.active_sequences, health.queued_requests) == (0, 0)
        assert client.health().steps == health.steps


def test_a_waiting_request_can_be_cancelled_and_unknown_ids_do_nothing(tiny: Path) -> None:
    with loaded_runner(tiny, sequences=1, context_tokens=512) as client:
        running = client.start("Once upon a time", ignore_eos=True)
        waiting = client.start("Roses are", ignore_eos=True)
        client.cancel(waiting)
        client.cancel(12345)
        (reply,) = client.replies(waiting)[waiting]
        assert isinstance(reply, p.Completed)
        assert (reply.reason, reply.completion_tokens) == (p.EndReason.CANCELLED, 0)
        client.cancel(running)
        assert isinstance(client.replies(running)[running][-1], p.Completed)


def test_health_is_answered_in_the_midst_of_work(tiny: Path) -> None:
    with loaded_runner(tiny, sequences=1, context_tokens=512) as client:
        running = client.start("Once upon a time", ignore_eos=True)
        waiting = client.start("Roses are", max_tokens=1)
        while not isinstance(client.next_reply(), p.Piece):
            pass
        health = client.send(p.Health(id=client.new_id()))
        reply = client.next_reply()
        while not isinstance(reply, p.Healthy):
            reply = client.next_reply()
        assert reply.id == health
        assert (reply.active_sequences, reply.queued_requests) == (1, 1)
        assert reply.steps > 0
        client.cancel(running)
        assert Completion(client.replies(waiting)[waiting]).end.completion_tokens == 1
