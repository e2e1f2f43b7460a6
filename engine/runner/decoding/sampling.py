"""A request's sampling options as a chain of llama.cpp's samplers.

Order and meaning are those of llama-server, which Ollama's options go to: biases, penalties, top-k,
typical, top-p, min-p, temperature, choice by seed. At temperature 0 the likeliest token is
taken, after penalties.

The same seed and prompt give the same tokens as long as the logits are the same bits. llama.cpp
promises that for equal batches only: with other sequences beside it, or a prefix taken from the
cache, log-probabilities differ in the second digit behind the point, and at temperatures above 0
another token wins soon. Only a request that is `reproducible` is computed the same way every time.
"""

import math
import secrets
from collections.abc import Mapping
from typing import Final

from olmkit.engine.runner.bindings import Model, Sampler
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.protocol import Completion, FailureKind, Sampling

_LEAST_TEMPERATURE: Final = 1e-4
"""Below, logits divided by it leave the range of float32; the outcome is greedy anyway."""

_MOST_CANDIDATES: Final = 1024
"""Bound of the cheap order of penalties and top-k."""

_INT32_MAX: Final = 2**31 - 1


def check_sampling(sampling: Sampling) -> None:
    """Refuses values that llama.cpp would end the process on or make nonsense of.

    Raises:
        RequestFailed: BAD_REQUEST, naming the option.
    """
    for name in sampling.__struct_fields__:
        if not math.isfinite(getattr(sampling, name)):
            raise RequestFailed(FailureKind.BAD_REQUEST, f"{name} must be a finite number")
    if sampling.repeat_penalty <= 0:
        raise RequestFailed(FailureKind.BAD_REQUEST, "repeat_penalty must be above 0")


def check_logit_bias(model: Model, logit_bias: Mapping[int, float]) -> None:
    """Refuses tokens that the model does not have.

    Raises:
        RequestFailed: BAD_REQUEST.
    """
    last = model.vocabulary_tokens - 1
    for token in logit_bias:
        if not 0 <= token <= last:
            message = f"logit_bias: token {token} is not in 0 to {last}"
            raise RequestFailed(FailureKind.BAD_REQUEST, message)


def build_sampler(
    model: Model, request: Completion, prompt: list[int], context_tokens: int
) -> Sampler:
    """The chain for one request, its penalties told of the prompt's last tokens."""
    sampler, sampling = Sampler(model), request.sampling
    never = dict.fromkeys(model.suppressed_tokens(), -math.inf)
    if biases := {**request.logit_bias, **never}:
        sampler.add_logit_bias(biases)
    last_tokens = _penalized_tokens(sampling, context_tokens)
    if last_tokens:
        _add_penalties(sampler, sampling, last_tokens)
    if sampling.temperature < _LEAST_TEMPERATURE:
        sampler.add_greedy()
    else:
        _add_choice(sampler, sampling)
    if last_tokens:
        for token in prompt[-last_tokens:]:
            sampler.accept(token)
    return sampler


def _penalized_tokens(sampling: Sampling, context_tokens: int) -> int:
    """Tokens that penalties look back on; 0 when there are none to apply."""
    neutral = (sampling.repeat_penalty, sampling.presence_penalty, sampling.frequency_penalty)
    if neutral == (1.0, 0.0, 0.0):
        return 0
    wanted = sampling.repeat_last_n
    return context_tokens if wanted < 0 else min(wanted, context_tokens)


def _add_penalties(sampler: Sampler, sampling: Sampling, last_tokens: int) -> None:
    """Penalties over as few candidates as give the same result.

    Where penalties only lower, at most `last_tokens` tokens can fall out of the best k, so the
    best k afterwards are among the best k + last_tokens before: a third of the cost of going
    over the whole vocabulary.
    """
    only_lowers = (
        sampling.repeat_penalty >= 1
        and sampling.presence_penalty >= 0
        and sampling.frequency_penalty >= 0
    )
    top_k = 1 if sampling.temperature < _LEAST_TEMPERATURE else sampling.top_k
    if only_lowers and top_k > 0 and top_k + last_tokens <= _MOST_CANDIDATES:
        sampler.add_top_k(top_k + last_tokens)
    sampler.add_penalties(
        last_tokens=last_tokens,
        repeat=sampling.repeat_penalty,
        frequency=sampling.frequency_penalty,
        presence=sampling.presence_penalty,
    )


def _add_choice(sampler: Sampler, sampling: Sampling) -> None:
    if sampling.top_k > 0:
        sampler.add_top_k(min(sampling.top_k, _INT32_MAX))
    if sampling.typical_p < 1:
        sampler.add_typical(sampling.typical_p)
    if sampling.top_p < 1:
        sampler.add_top_p(sampling.top_p)
    if sampling.min_p > 0:
        sampler.add_min_p(sampling.min_p)
    sampler.add_temperature(sampling.temperature)
    sampler.add_choice(secrets.randbits(32) if sampling.seed < 0 else sampling.seed & 0xFFFFFFFF)
