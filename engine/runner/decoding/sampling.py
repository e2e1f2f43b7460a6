"""A request's sampling options as a chain of llama.cpp's samplers.

Order and meaning are those of llama-server, which Ollama's options go to: biases, penalties, DRY,
top-n-sigma, top-k, typical, top-p, min-p, XTC, temperature, choice by seed. Mirostat takes the
place of all between biases and temperature, and chooses itself; so does the adaptive choice at the
end. At temperature 0 the likeliest token is taken, after penalties and what XTC leaves.
Source: `common_sampler_init` of https://github.com/ggml-org/llama.cpp/blob/master/common/sampling.cpp

The same seed and prompt give the same tokens as long as the logits are the same bits. llama.cpp
promises that for equal batches only: with other sequences beside it, or a prefix taken from the
cache, log-probabilities differ in the second digit behind the point, and at temperatures above 0
another token wins soon. Only a request that is `reproducible` is computed the same way every time.
"""

import math
import secrets
from collections.abc import Mapping
from typing import Final

from olmkit.engine.runner.bindings import DrySampler, Model, Sampler
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.protocol import Completion, FailureKind, Sampling

_LEAST_TEMPERATURE: Final = 1e-4
"""Below, logits divided by it leave the range of float32; the outcome is greedy anyway."""

_MOST_CANDIDATES: Final = 1024
"""Bound of the cheap order of penalties and top-k."""

_KNOWN_DRY: Final = 4
"""DRY samplers that are kept to be copied."""

_INT32_MAX: Final = 2**31 - 1


def check_sampling(sampling: Sampling) -> None:
    """Refuses values that llama.cpp would end the process on or make nonsense of.

    Raises:
        RequestFailed: BAD_REQUEST, naming the option.
    """
    for name in sampling.__struct_fields__:
        value = getattr(sampling, name)
        if not isinstance(value, tuple) and not math.isfinite(value):
            raise RequestFailed(FailureKind.BAD_REQUEST, f"{name} must be a finite number")
    if sampling.repeat_penalty <= 0:
        raise RequestFailed(FailureKind.BAD_REQUEST, "repeat_penalty must be above 0")
    if sampling.mirostat not in (0, 1, 2):
        raise RequestFailed(FailureKind.BAD_REQUEST, "mirostat must be 0, 1 or 2")


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


class SamplerMaker:
    """Makes the chains of one model's requests."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._known: dict[object, DrySampler] = {}
        """By their options, the one used last at the end."""

    def sampler(self, request: Completion, prompt: list[int], context_tokens: int) -> Sampler:
        """The chain for one request, its penalties told of the prompt's last tokens."""
        sampler, sampling = Sampler(self._model), request.sampling
        never = dict.fromkeys(self._model.suppressed_tokens(), -math.inf)
        if biases := {**request.logit_bias, **never}:
            sampler.add_logit_bias(biases)
        is_greedy = sampling.temperature < _LEAST_TEMPERATURE
        seed = secrets.randbits(32) if sampling.seed < 0 else sampling.seed & 0xFFFFFFFF
        if sampling.mirostat and not is_greedy:
            _add_temperature(sampler, sampling)
            sampler.add_mirostat(
                sampling.mirostat, sampling.mirostat_tau, sampling.mirostat_eta, seed
            )
            return sampler
        last_tokens = _penalized_tokens(sampling, context_tokens)
        dry_tokens = _phrase_tokens(sampling, context_tokens)
        if last_tokens:
            _add_penalties(sampler, sampling, last_tokens, dry_tokens)
        if dry_tokens:
            sampler.add_dry(self._dry(sampling, dry_tokens))
        if is_greedy and not _drops_the_likeliest(sampling):
            sampler.add_greedy()
        else:
            _add_choice(sampler, sampling, seed)
        if looked_at := max(last_tokens, dry_tokens):
            for token in prompt[-looked_at:]:
                sampler.accept(token)
        return sampler

    def _dry(self, sampling: Sampling, last_tokens: int) -> DrySampler:
        key = (
            sampling.dry_multiplier,
            sampling.dry_base,
            sampling.dry_allowed_length,
            last_tokens,
            sampling.dry_sequence_breakers,
        )
        dry = self._known.pop(key, None) or DrySampler(
            self._model,
            multiplier=sampling.dry_multiplier,
            base=sampling.dry_base,
            allowed_tokens=sampling.dry_allowed_length,
            last_tokens=last_tokens,
            breakers=sampling.dry_sequence_breakers,
        )
        self._known[key] = dry
        if len(self._known) > _KNOWN_DRY:
            self._known.pop(next(iter(self._known))).close()
        return dry


def _penalized_tokens(sampling: Sampling, context_tokens: int) -> int:
    """Tokens that penalties look back on; 0 when there are none to apply."""
    neutral = (sampling.repeat_penalty, sampling.presence_penalty, sampling.frequency_penalty)
    if neutral == (1.0, 0.0, 0.0):
        return 0
    return _looked_back_on(sampling.repeat_last_n, context_tokens)


def _phrase_tokens(sampling: Sampling, context_tokens: int) -> int:
    """Tokens in which DRY looks for phrases; 0 when it is off."""
    if sampling.dry_multiplier <= 0 or sampling.dry_base < 1:
        return 0
    return _looked_back_on(sampling.dry_penalty_last_n, context_tokens)


def _looked_back_on(wanted: int, context_tokens: int) -> int:
    return context_tokens if wanted < 0 else min(wanted, context_tokens)


def _drops_the_likeliest(sampling: Sampling) -> bool:
    """XTC is on: the only one after which another than the likeliest token may be the first."""
    return sampling.xtc_probability > 0 and sampling.xtc_threshold <= 0.5


def _add_penalties(sampler: Sampler, sampling: Sampling, last_tokens: int, dry_tokens: int) -> None:
    """Penalties over as few candidates as give the same result.

    Where penalties only lower, at most `last_tokens` tokens can fall out of the best k, and at most
    `dry_tokens` by DRY; so the best k afterwards are among the best k + last_tokens + dry_tokens
    before: a third of the cost of going over the whole vocabulary. Top-n-sigma looks at all of it.
    """
    only_lowers = (
        sampling.repeat_penalty >= 1
        and sampling.presence_penalty >= 0
        and sampling.frequency_penalty >= 0
        and sampling.top_n_sigma <= 0
    )
    is_greedy = sampling.temperature < _LEAST_TEMPERATURE and not _drops_the_likeliest(sampling)
    top_k = 1 if is_greedy else sampling.top_k
    candidates = top_k + last_tokens + dry_tokens
    if only_lowers and top_k > 0 and candidates <= _MOST_CANDIDATES:
        sampler.add_top_k(candidates)
    sampler.add_penalties(
        last_tokens=last_tokens,
        repeat=sampling.repeat_penalty,
        frequency=sampling.frequency_penalty,
        presence=sampling.presence_penalty,
    )


def _add_choice(sampler: Sampler, sampling: Sampling, seed: int) -> None:
    if sampling.top_n_sigma > 0:
        sampler.add_top_n_sigma(sampling.top_n_sigma)
    if sampling.top_k > 0:
        sampler.add_top_k(min(sampling.top_k, _INT32_MAX))
    if sampling.typical_p < 1:
        sampler.add_typical(sampling.typical_p)
    if sampling.top_p < 1:
        sampler.add_top_p(sampling.top_p)
    if sampling.min_p > 0:
        sampler.add_min_p(sampling.min_p)
    if _drops_the_likeliest(sampling):
        sampler.add_xtc(sampling.xtc_probability, sampling.xtc_threshold, seed)
    if sampling.temperature < _LEAST_TEMPERATURE:
        sampler.add_greedy()
        return
    _add_temperature(sampler, sampling)
    if sampling.adaptive_target >= 0:
        sampler.add_adaptive_choice(sampling.adaptive_target, sampling.adaptive_decay, seed)
    else:
        sampler.add_choice(seed)


def _add_temperature(sampler: Sampler, sampling: Sampling) -> None:
    """Divides the logits; mirostat, as in llama.cpp, by the same number at every token."""
    if sampling.dynatemp_range > 0 and not sampling.mirostat:
        sampler.add_dynamic_temperature(
            sampling.temperature, sampling.dynatemp_range, sampling.dynatemp_exponent
        )
    else:
        sampler.add_temperature(sampling.temperature)
