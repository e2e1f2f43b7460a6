"""llama.cpp's sampler chain."""

import ctypes
from collections.abc import Mapping
from typing import Any

from olmkit.engine.runner.bindings.context import Context
from olmkit.engine.runner.bindings.library import api
from olmkit.engine.runner.bindings.model import Model


class Sampler:
    """A chain of llama.cpp's samplers, applied in the order of the `add_…` calls."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())

    def close(self) -> None:
        """Frees the chain."""
        if self._chain:
            api.llama_sampler_free(self._chain)
            self._chain = None

    def _add(self, sampler: object) -> None:
        api.llama_sampler_chain_add(self._chain, sampler)

    def add_logit_bias(self, biases: Mapping[int, float]) -> None:
        """Adds to the logits of tokens; minus infinity takes a token out of the choice."""
        rows = (api.llama_logit_bias * len(biases))()
        for row, (token, bias) in zip(rows, biases.items(), strict=True):
            row.token, row.bias = token, bias
        size = self._model.vocabulary_tokens
        self._add(api.llama_sampler_init_logit_bias(size, len(biases), rows))

    def add_penalties(
        self, *, last_tokens: int, repeat: float, frequency: float, presence: float
    ) -> None:
        """Lowers tokens that stand among the last ones."""
        size = self._model.vocabulary_tokens
        self._add(api.llama_sampler_init_penalties(size, last_tokens, repeat, frequency, presence))

    def add_top_k(self, count: int) -> None:
        """Keeps the likeliest tokens."""
        self._add(api.llama_sampler_init_top_k(count))

    def add_typical(self, probability: float) -> None:
        """Keeps locally typical tokens."""
        self._add(api.llama_sampler_init_typical(probability, 1))

    def add_top_p(self, probability: float) -> None:
        """Keeps the smallest set of tokens that has this probability."""
        self._add(api.llama_sampler_init_top_p(probability, 1))

    def add_min_p(self, ratio: float) -> None:
        """Keeps tokens at least `ratio` times as likely as the likeliest."""
        self._add(api.llama_sampler_init_min_p(ratio, 1))

    def add_temperature(self, temperature: float) -> None:
        """Divides the logits."""
        self._add(api.llama_sampler_init_temp(temperature))

    def add_choice(self, seed: int) -> None:
        """Ends the chain: draws from the distribution that is left; `seed` is an uint32."""
        self._add(api.llama_sampler_init_dist(seed))

    def add_greedy(self) -> None:
        """Ends the chain: takes the likeliest token."""
        self._add(api.llama_sampler_init_greedy())

    def accept(self, token: int) -> None:
        """Tells the penalties of a token that `sample` did not sample."""
        api.llama_sampler_accept(self._chain, token)

    def sample(self, context: Context, index: int) -> int:
        """Samples from the output at a batch index, and accepts the token."""
        return int(api.llama_sampler_sample(self._chain, context.handle, index))

    def choose(self, candidates: "Candidates", count: int) -> int:
        """Samples from the first `count` candidates, at least one, and accepts nothing."""
        candidates.raw.size, candidates.raw.selected, candidates.raw.sorted = count, -1, False
        api.llama_sampler_apply(self._chain, ctypes.byref(candidates.raw))
        return int(candidates.memory[candidates.raw.selected].id)


class Candidates:
    """Tokens with their logits, to choose from; written by the caller, reordered by a choice."""

    def __init__(self, capacity: int) -> None:
        self.memory: Any = (api.llama_token_data * capacity)()
        """Rows of token (int32), logit (float32) and probability (float32)."""
        self.raw = api.llama_token_data_array(data=self.memory, size=0, selected=-1, sorted=False)
