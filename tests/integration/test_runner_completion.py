"""Completions by a real runner with SmolLM2: text, ends, sampling."""

import math
from collections.abc import Iterator

import pytest

from olmkit.engine.runner import protocol as p
from support.models import smollm2
from support.runner import RunnerClient, RunnerFailure, loaded_runner

STORY = "Once upon a time, there was"
CHAT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
PATTERNS = [
    "1 2 3 4 5 6 7 8 9 10 11 12",
    "x, y, x, y, x, y, x, y, x, y,",
    CHAT,
    "7 8 9 10 11 12 13",
]
"""Texts whose continuation is clear: other batches change the last bits of the logits."""
ROBOTS = "🤖 🦾 🤖 🦾 🤖 🦾 🤖 🦾 🤖 🦾 🤖 🦾 🤖"


@pytest.fixture(scope="module")
def runner() -> Iterator[RunnerClient]:
    with loaded_runner(smollm2(), context_tokens=512) as client:
        yield client


def test_greedy_completions_side_by_side_equal_those_one_after_the_other(
    runner: RunnerClient,
) -> None:
    alone = [runner.complete(prompt, max_tokens=20) for prompt in PATTERNS]
    together = runner.complete_all(PATTERNS, max_tokens=20)
    assert [one.text for one in together] == [one.text for one in alone]
    assert alone[0].text.startswith(" 13 14 15 16")


def test_a_completion_counts_its_tokens_and_ends_at_max_tokens(runner: RunnerClient) -> None:
    one = runner.complete(STORY, max_tokens=5)
    assert one.end.reason is p.EndReason.LENGTH
    assert one.end.prompt_tokens == len(runner.tokenize(STORY))
    assert one.end.completion_tokens == len(one.tokens) == 5
    assert one.end.completion_ns > 0
    assert runner.detokenize(one.tokens) == one.text


def test_max_tokens_zero_only_reads_the_prompt(runner: RunnerClient) -> None:
    one = runner.complete("Read this and say nothing", max_tokens=0)
    assert (one.text, one.end.completion_tokens) == ("", 0)
    assert one.end.reason is p.EndReason.LENGTH


def test_the_tokens_of_the_prompt_are_told_where_they_are_asked_for(runner: RunnerClient) -> None:
    def told(**fields: object) -> list[list[int]]:
        one = runner.start(STORY, max_tokens=2, **fields)
        return [r.tokens for r in runner.replies(one)[one] if isinstance(r, p.PromptRead)]

    assert told(tells_prompt=True) == [runner.tokenize(STORY)]
    assert told() == [[]]


def test_token_ids_are_a_prompt_too(runner: RunnerClient) -> None:
    by_text = runner.complete(STORY, max_tokens=8)
    assert runner.complete(runner.tokenize(STORY), max_tokens=8).text == by_text.text


def test_an_end_of_generation_token_stops_and_has_no_text(runner: RunnerClient) -> None:
    one = runner.complete(CHAT, max_tokens=100)
    assert one.end.reason is p.EndReason.STOP
    assert one.end.stop_string is None
    assert one.text == "The capital of France is Paris."
    assert one.end.completion_tokens == len(one.tokens) + 1  # the end itself was sampled too


def test_ignore_eos_goes_on_to_max_tokens(runner: RunnerClient) -> None:
    one = runner.complete(CHAT, max_tokens=100, ignore_eos=True)
    assert one.end.completion_tokens == 100


def test_a_stop_string_over_a_token_border_ends_the_text_before_it(runner: RunnerClient) -> None:
    whole = runner.complete(STORY, max_tokens=24)
    border = len(whole.pieces[0].text + whole.pieces[1].text)
    stop = whole.text[border - 2 : border + 3]
    assert stop not in whole.text[: border - 2]
    one = runner.complete(STORY, max_tokens=24, stop=["never", stop])
    assert one.text == whole.text[: border - 2]
    assert (one.end.reason, one.end.stop_string) == (p.EndReason.STOP, stop)


def test_a_half_stop_string_at_the_end_comes_with_the_last_frame(runner: RunnerClient) -> None:
    whole = runner.complete(STORY, max_tokens=6)
    one = runner.complete(STORY, max_tokens=6, stop=[whole.text[-3:] + "?!"])
    assert one.text == whole.text
    assert one.end.text == whole.text[-3:]


def test_a_control_token_can_be_a_stop_string(runner: RunnerClient) -> None:
    one = runner.complete(CHAT, max_tokens=100, stop=["<|im_end|>"], ignore_eos=True)
    assert (one.end.reason, one.end.stop_string) == (p.EndReason.STOP, "<|im_end|>")


def test_every_piece_is_whole_characters(runner: RunnerClient) -> None:
    one = runner.complete(ROBOTS, max_tokens=24)
    assert any(ord(character) > 0xFFFF for character in one.text)
    assert any(not piece.text for piece in one.pieces), "no character took several tokens"
    assert "\ufffd" not in one.text


def test_a_character_cut_by_max_tokens_is_left_out(runner: RunnerClient) -> None:
    texts = [runner.complete(ROBOTS, max_tokens=count).text for count in range(1, 6)]
    assert not any("\ufffd" in text for text in texts)


def test_the_same_seed_gives_the_same_text_and_others_others(runner: RunnerClient) -> None:
    def text(seed: int) -> str:
        sampling = p.Sampling(seed=seed, temperature=1.5, top_k=0, top_p=1)
        return runner.complete(STORY, max_tokens=16, sampling=sampling).text

    runner.complete(STORY, max_tokens=0)  # the same part of the prompt comes from the cache
    assert text(7) == text(7)
    assert len({text(seed) for seed in (1, 2, 3)}) == 3
    assert text(-1) != text(-1)


def test_top_k_one_is_greedy_whatever_the_temperature(runner: RunnerClient) -> None:
    greedy = runner.complete(STORY, max_tokens=12)
    sampling = p.Sampling(temperature=5, top_k=1)
    assert runner.complete(STORY, max_tokens=12, sampling=sampling).text == greedy.text


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_bias_forbids_tokens_or_leaves_no_other(runner: RunnerClient, temperature: float) -> None:
    sampling = p.Sampling(temperature=temperature)
    usual = runner.complete(STORY, max_tokens=4).tokens
    never = runner.complete(
        STORY, max_tokens=4, sampling=sampling, logit_bias=dict.fromkeys(usual, -100.0)
    )
    assert not set(never.tokens) & set(usual)
    (red,) = runner.tokenize(" red")
    only = runner.complete(STORY, max_tokens=3, sampling=sampling, logit_bias={red: 100.0})
    assert only.text == " red red red"


def test_a_bias_for_a_token_that_is_none_fails_that_request_alone(runner: RunnerClient) -> None:
    with pytest.raises(RunnerFailure, match="token 49152 is not in 0 to 49151"):
        runner.complete(STORY, max_tokens=1, logit_bias={49152: 1.0})


@pytest.mark.parametrize("top_k", [0, 40])
def test_penalties_look_back_on_the_prompt(runner: RunnerClient, top_k: int) -> None:
    """With top_k they go over fewer candidates, which must not change the outcome."""
    prompt = "red red red red red red red red red red"
    (red,) = set(runner.tokenize(" red"))
    assert red in runner.complete(prompt, max_tokens=4).tokens
    sampling = p.Sampling(seed=5, top_k=top_k, top_p=1, presence_penalty=90)
    tokens = runner.complete(prompt, max_tokens=12, sampling=sampling).tokens
    assert red not in tokens
    assert len(set(tokens)) == len(tokens)


def test_penalties_over_fewer_candidates_are_the_same(runner: RunnerClient) -> None:
    penalties = {"repeat_penalty": 1.3, "frequency_penalty": 0.2, "presence_penalty": 0.3}
    texts = [
        runner.complete(STORY, max_tokens=30, sampling=p.Sampling(temperature=0, **one)).text  # type: ignore[arg-type]
        # A window over the bound of the cheap order makes the runner take the plain one.
        for one in (penalties, penalties | {"repeat_last_n": -1})
    ]
    assert texts[0] == texts[1] != runner.complete(STORY, max_tokens=30).text


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 1e-30},
        {"temperature": 1e30},
        {"temperature": -1.0},
        {"top_k": 2**40},
        {"top_p": -1.0},
        {"min_p": 5.0},
        {"typical_p": 0.0},
        {"seed": 2**62},
        {"repeat_penalty": 1e30},
        {"frequency_penalty": -1e38},
        {"repeat_last_n": 2**40, "repeat_penalty": 1.1},
    ],
)
def test_extreme_options_do_no_harm(runner: RunnerClient, options: dict[str, float]) -> None:
    one = runner.complete(STORY, max_tokens=2, sampling=p.Sampling(**options))  # type: ignore[arg-type]
    assert one.end.completion_tokens >= 1


def test_the_same_token_for_ever_is_ended(runner: RunnerClient) -> None:
    sampling = p.Sampling(temperature=0, presence_penalty=-100, repeat_last_n=8)
    one = runner.complete([500], sampling=sampling)
    assert one.end.reason is p.EndReason.REPEAT_LIMIT
    assert set(one.tokens) == {500}


def test_logprobs_are_the_models_own_distribution(runner: RunnerClient) -> None:
    size = 49152
    one = runner.complete(STORY, max_tokens=2, top_logprobs=size)
    for piece, entry in zip(one.pieces, one.logprobs, strict=True):
        assert entry.raw == entry.token.encode() == piece.text.encode()
        assert len(entry.top) == size
        assert entry.logprob == entry.top[0].logprob  # greedy
        values = [rival.logprob for rival in entry.top]
        assert values == sorted(values, reverse=True)
        assert math.fsum(map(math.exp, values)) == pytest.approx(1, abs=1e-4)


def test_logprobs_without_rivals_name_the_token_alone(runner: RunnerClient) -> None:
    one = runner.complete(STORY, max_tokens=3, top_logprobs=0)
    assert len(one.logprobs) == 3
    assert all(entry.top == [] and entry.logprob <= 0 for entry in one.logprobs)
    assert runner.complete(STORY, max_tokens=1).logprobs == []


def test_a_prompt_over_the_context_fails_with_both_numbers(runner: RunnerClient) -> None:
    with pytest.raises(RunnerFailure) as caught:
        runner.complete([500] * 512)
    failed = caught.value.failed
    assert failed.kind is p.FailureKind.CONTEXT_EXCEEDED
    assert (failed.given_tokens, failed.limit_tokens) == (512, 512)
    assert failed.message == "the prompt has 512 tokens, the context holds 512"


def test_a_prompt_that_leaves_room_for_one_token_gets_it(runner: RunnerClient) -> None:
    one = runner.complete([500] * 511)
    assert (one.end.completion_tokens, one.end.reason) == (1, p.EndReason.LENGTH)


@pytest.mark.parametrize(
    ("prompt", "says"),
    [("", "empty"), ([], "empty"), ([49152], "0 to 49151"), ([5, -1], "0 to 49151")],
)
def test_a_prompt_that_is_none_is_refused(
    runner: RunnerClient, prompt: str | list[int], says: str
) -> None:
    with pytest.raises(RunnerFailure, match=says) as caught:
        runner.complete(prompt)
    assert caught.value.failed.kind is p.FailureKind.BAD_REQUEST


def test_wrong_sampling_options_fail_that_request_only(runner: RunnerClient) -> None:
    with pytest.raises(RunnerFailure, match="temperature"):
        runner.complete(STORY, sampling=p.Sampling(temperature=math.nan))
    assert runner.complete(STORY, max_tokens=1).end.completion_tokens == 1


def test_tokenize_and_detokenize_are_inverse(runner: RunnerClient) -> None:
    text = "<|im_start|>user\nHéllo, wörld! 😀 1234<|im_end|>\n"
    tokens = runner.tokenize(text)
    assert runner.detokenize(tokens) == text
    plain = p.Tokenize(id=runner.new_id(), text="<|im_start|>", parse_special=False)
    assert len(runner.call(plain, p.Tokens).tokens) > 1
    with pytest.raises(RunnerFailure, match="0 to 49151"):
        runner.detokenize([10**6])


def test_prompts_and_answers_are_never_logged(runner: RunnerClient) -> None:
    runner.complete("A zebra named Quagga", max_tokens=4)
    assert "zebra" not in runner.log
    assert "loaded in" in runner.log


def test_tokens_and_logprobs_are_those_of_the_text_without_the_stop_string(
    runner: RunnerClient,
) -> None:
    plain = runner.complete("1, 2, 3, 4,", max_tokens=24, top_logprobs=0)
    assert " 7, 8" in plain.text
    cut = runner.complete("1, 2, 3, 4,", max_tokens=24, top_logprobs=0, stop=[" 7, 8"])
    assert cut.end.stop_string == " 7, 8"
    assert runner.detokenize(cut.tokens) == cut.text == plain.text.partition(" 7, 8")[0]
    assert "".join(entry.token for entry in cut.logprobs) == cut.text
    # One that never comes whole cuts nothing off.
    half = runner.complete("1, 2, 3, 4,", max_tokens=24, top_logprobs=0, stop=[plain.text + "!"])
    assert (half.tokens, half.text) == (plain.tokens, plain.text)
    assert len(half.logprobs) == len(plain.logprobs)
