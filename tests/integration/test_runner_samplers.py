"""llama.cpp's further samplers: what each does to an answer, and that all are llama.cpp's own."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from olmkit.engine.runner.protocol import Constraint, ConstraintKind, Sampling
from support.models import smollm2
from support.runner import RunnerClient, RunnerFailure, loaded_runner

PROGRAM = Path(__file__).resolve().parents[1] / "support" / "samplers_program.py"
STORY = "Once upon a time, there was"
REDS = "red red red red red red red red red red"
OPEN: dict[str, Any] = {"top_k": 0, "top_p": 1.0, "seed": 3}
"""Nothing is dropped before the sampler at hand."""


@pytest.fixture(scope="module")
def runner() -> Iterator[RunnerClient]:
    with loaded_runner(smollm2(), context_tokens=512, sequences=1) as client:
        for prompt in (STORY, REDS):
            client.complete(prompt, max_tokens=1)
        yield client


def tokens(runner: RunnerClient, prompt: str = STORY, **options: Any) -> list[int]:
    return runner.complete(prompt, max_tokens=12, sampling=Sampling(**options)).tokens


def test_chains_draw_what_those_of_llama_server_draw() -> None:
    command = [sys.executable, str(PROGRAM), str(smollm2())]
    done = subprocess.run(command, capture_output=True, check=True, timeout=240)
    drawn = json.loads(done.stdout)
    assert {name: both["olm"] for name, both in drawn.items()} == {
        name: both["server"] for name, both in drawn.items()
    }
    texts = {tuple(both["olm"]) for both in drawn.values()}
    assert len(texts) > len(drawn) / 2, "most of the options had no effect"


def test_xtc_leaves_the_least_likely_of_those_over_the_threshold(runner: RunnerClient) -> None:
    sampling = Sampling(temperature=0, xtc_probability=1, xtc_threshold=0.05, **OPEN)
    answer = runner.complete(STORY, max_tokens=12, sampling=sampling, top_logprobs=20)
    least = math.log(0.05)
    for entry in answer.logprobs:
        over = [rival for rival in entry.top if rival.logprob >= least]
        assert entry.token == (over or entry.top)[-1 if over else 0].token
    assert answer.tokens != tokens(runner, temperature=0)


def test_dry_ends_a_phrase_that_goes_round_but_for_its_breakers(runner: RunnerClient) -> None:
    (red,) = set(runner.tokenize(" red"))
    dry: dict[str, Any] = {"temperature": 0, "dry_multiplier": 5.0}
    assert red in tokens(runner, REDS, temperature=0)
    assert red not in tokens(runner, REDS, **dry)[:1]
    assert red in tokens(runner, REDS, **dry, dry_sequence_breakers=("red",))[:1]


@pytest.mark.parametrize(
    "options",
    [
        {"top_n_sigma": 0.001},
        {"mirostat": 2, "mirostat_tau": 0.0},
        {"mirostat": 1, "mirostat_tau": 0.0},
        {"dynatemp_range": 5.0, "dynatemp_exponent": 100.0},
    ],
)
def test_the_hottest_temperature_is_held_to_the_likeliest_token(
    runner: RunnerClient, options: dict[str, Any]
) -> None:
    greedy = tokens(runner, temperature=0)
    assert tokens(runner, temperature=5.0, **OPEN) != greedy
    assert tokens(runner, temperature=5.0, **OPEN, **options) == greedy


def test_the_adaptive_choice_keeps_near_its_target(runner: RunnerClient) -> None:
    def mean(target: float) -> float:
        sampling = Sampling(temperature=1, seed=3, top_k=20, top_p=1, adaptive_target=target)
        answer = runner.complete(STORY, max_tokens=24, sampling=sampling, top_logprobs=0)
        return sum(math.exp(entry.logprob) for entry in answer.logprobs) / 24

    assert mean(0.9) > mean(0.05) + 0.1


@pytest.mark.parametrize(
    "options",
    [
        {"mirostat": 1},
        {"mirostat": 2},
        {"xtc_probability": 0.5},
        {"adaptive_target": 0.4},
        {"dynatemp_range": 0.5},
    ],
)
def test_a_seed_gives_the_same_text_with_every_sampler(
    runner: RunnerClient, options: dict[str, Any]
) -> None:
    hot: dict[str, Any] = {"temperature": 1.5, "top_k": 0, "top_p": 1.0}
    first = tokens(runner, seed=7, **hot, **options)
    assert tokens(runner, seed=7, **hot, **options) == first
    assert tokens(runner, seed=8, **hot, **options) != first


@pytest.mark.parametrize("options", [{"mirostat": 1}, {"mirostat": 2}, {"adaptive_target": 0.5}])
def test_samplers_that_choose_keep_to_a_grammar(
    runner: RunnerClient, options: dict[str, Any]
) -> None:
    digits = Constraint(kind=ConstraintKind.REGEX, text="[0-9]{6}")
    sampling = Sampling(seed=1, **options)
    answer = runner.complete(STORY, max_tokens=12, sampling=sampling, constraint=digits)
    assert answer.text.isdigit()
    assert len(answer.text) == 6


@pytest.mark.parametrize(
    "options",
    [
        {"mirostat": 1, "mirostat_tau": 1e30},
        {"mirostat": 2, "mirostat_tau": -1e30, "mirostat_eta": 1e30},
        {"dry_multiplier": 1e38, "dry_base": 1e30, "dry_allowed_length": 0},
        {"dry_multiplier": 1.0, "dry_allowed_length": -5, "dry_penalty_last_n": 2**40},
        {"dry_multiplier": 1.0, "dry_sequence_breakers": ("\0", "", "é" * 60)},
        {"xtc_probability": 1e9, "xtc_threshold": -1.0},
        {"top_n_sigma": 1e-38},
        {"adaptive_target": 50.0, "adaptive_decay": 50.0},
        {"dynatemp_range": 1e30, "dynatemp_exponent": -1e30},
    ],
)
def test_extreme_samplers_do_no_harm(runner: RunnerClient, options: dict[str, Any]) -> None:
    assert tokens(runner, REDS, seed=1, **options)


def test_a_version_of_mirostat_that_is_none_is_refused(runner: RunnerClient) -> None:
    with pytest.raises(RunnerFailure, match="mirostat must be 0, 1 or 2"):
        tokens(runner, mirostat=3)
