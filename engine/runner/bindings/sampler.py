"""llama.cpp's sampler chain."""

import ctypes
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final

from olmkit.engine.runner.bindings.context import Context
from olmkit.engine.runner.bindings.library import api
from olmkit.engine.runner.bindings.model import Model

_ROW_NUMBERS: Final = 3
"""Of four bytes, in a row of candidates: token, logit, probability."""
_LONGEST_BREAKER_BYTES: Final = 40
"""llama.cpp cuts longer ones, with a warning in its log."""


class Sampler:
    """A chain of llama.cpp's samplers, applied in the order of the `add_…` calls."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
        self._lowered_tokens: int | None = 0
        """How many tokens the chain only pushes down so far; None: it does more."""
        self.looked_at_tokens = 0
        """The likeliest so many tokens are all that a choice depends on; 0: it may be on any."""

    def close(self) -> None:
        """Frees the chain."""
        if self._chain:
            api.llama_sampler_free(self._chain)
            self._chain = None

    def _add(
        self, sampler: object, *, keeps_tokens: int = 0, lowers_tokens: int | None = None
    ) -> None:
        """Appends a sampler.

        `keeps_tokens`: it keeps only so many of the likeliest tokens; `lowers_tokens`: it does
        nothing but push so many down.
        """
        before, self._lowered_tokens = self._lowered_tokens, None
        if before is not None and lowers_tokens is not None:
            self._lowered_tokens = before + lowers_tokens
        elif before is not None and keeps_tokens:
            self.looked_at_tokens = before + keeps_tokens
        api.llama_sampler_chain_add(self._chain, sampler)

    def add_logit_bias(self, biases: Mapping[int, float]) -> None:
        """Adds to the logits of tokens; minus infinity takes a token out of the choice."""
        rows = (api.llama_logit_bias * len(biases))()
        for row, (token, bias) in zip(rows, biases.items(), strict=True):
            row.token, row.bias = token, bias
        size = self._model.vocabulary_tokens
        only_lowers = all(bias <= 0 for bias in biases.values())
        self._add(
            api.llama_sampler_init_logit_bias(size, len(biases), rows),
            lowers_tokens=len(biases) if only_lowers else None,
        )

    def add_penalties(
        self, *, last_tokens: int, repeat: float, frequency: float, presence: float
    ) -> None:
        """Lowers tokens that stand among the last ones."""
        size = self._model.vocabulary_tokens
        self._add(api.llama_sampler_init_penalties(size, last_tokens, repeat, frequency, presence))

    def add_top_k(self, count: int) -> None:
        """Keeps the likeliest tokens."""
        self._add(api.llama_sampler_init_top_k(count), keeps_tokens=count)

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

    def add_dynamic_temperature(self, temperature: float, reach: float, exponent: float) -> None:
        """Divides the logits, by more where there are many likely tokens: up to `reach` more."""
        self._add(api.llama_sampler_init_temp_ext(temperature, reach, exponent))

    def add_top_n_sigma(self, deviations: float) -> None:
        """Keeps logits within so many standard deviations of the highest."""
        self._add(api.llama_sampler_init_top_n_sigma(deviations))

    def add_xtc(self, probability: float, threshold: float, seed: int) -> None:
        """Now and then drops all but the least likely of the tokens over a threshold."""
        self._add(api.llama_sampler_init_xtc(probability, threshold, 1, seed))

    def add_dry(self, dry: "DrySampler") -> None:
        """Lowers tokens that would go on with a phrase which stands in the text before."""
        self._add(api.llama_sampler_clone(dry.handle))

    def add_mirostat(self, version: int, tau: float, eta: float, seed: int) -> None:
        """Ends the chain: draws so that the surprise of the tokens stays near `tau` bits."""
        if version == 1:
            size, looked_at = self._model.vocabulary_tokens, 100
            self._add(api.llama_sampler_init_mirostat(size, seed, tau, eta, looked_at))
        else:
            self._add(api.llama_sampler_init_mirostat_v2(seed, tau, eta))

    def add_adaptive_choice(self, target: float, decay: float, seed: int) -> None:
        """Ends the chain: draws tokens whose probability is near `target`, on average."""
        self._add(api.llama_sampler_init_adaptive_p(target, decay, seed))

    def add_choice(self, seed: int) -> None:
        """Ends the chain: draws from the distribution that is left; `seed` is an uint32."""
        self._add(api.llama_sampler_init_dist(seed))

    def add_greedy(self) -> None:
        """Ends the chain: takes the likeliest token."""
        self._add(api.llama_sampler_init_greedy(), keeps_tokens=1)

    def accept(self, token: int) -> None:
        """Tells the penalties of a token that `sample` did not sample."""
        api.llama_sampler_accept(self._chain, token)

    def sample(self, context: Context, index: int) -> int:
        """Samples from the output at a batch index, and accepts the token."""
        return int(api.llama_sampler_sample(self._chain, context.handle, index))

    def choose(self, candidates: "Candidates", count: int, *, start: int = 0) -> int:
        """Samples from so many candidates, at least one, and accepts nothing."""
        raw = candidates.part(start, count)
        api.llama_sampler_apply(self._chain, ctypes.byref(raw))
        return int(raw.data[raw.selected].id)  # XTC moves the beginning


class DrySampler:
    """A DRY sampler to copy: making it costs a search of the vocabulary, up to 0.2 s, a copy none.

    Source: https://github.com/oobabooga/text-generation-webui/pull/5677
    """

    def __init__(
        self,
        model: Model,
        *,
        multiplier: float,
        base: float,
        allowed_tokens: int,
        last_tokens: int,
        breakers: Sequence[str],
    ) -> None:
        """Reads which tokens hold a breaker; those are cut to llama.cpp's 40 bytes."""
        texts = [one.encode()[:_LONGEST_BREAKER_BYTES] for one in breakers]
        rows = (ctypes.c_char_p * len(texts))(*texts)
        self.handle = api.llama_sampler_init_dry(
            model.vocabulary, multiplier, base, allowed_tokens, last_tokens, rows, len(texts)
        )

    def close(self) -> None:
        """Frees the sampler; copies of it live on."""
        if self.handle:
            api.llama_sampler_free(self.handle)
            self.handle = None


class Candidates:
    """Tokens with their logits, to choose from; written by the caller, reordered by a choice."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        numbers = bytearray(capacity * ctypes.sizeof(api.llama_token_data))
        self.memory: Any = (api.llama_token_data * capacity).from_buffer(numbers)
        """Rows of token (int32), logit (float32) and probability (float32)."""
        self._ids, self._logits = memoryview(numbers).cast("i"), memoryview(numbers).cast("f")
        # By its address: a cast of the memory itself would be a circle of references.
        address = ctypes.c_void_p(ctypes.addressof(self.memory))
        self._data = ctypes.cast(address, ctypes.POINTER(api.llama_token_data))

    def table(self) -> Any:
        """The rows as a numpy array over the same memory."""
        import numpy as np

        fields = [("id", np.int32), ("logit", np.float32), ("probability", np.float32)]
        return np.frombuffer(self.memory, dtype=fields)

    def copy(self, other: "Candidates") -> None:
        """Takes over the rows of another of the same capacity."""
        ctypes.memmove(self.memory, other.memory, ctypes.sizeof(self.memory))

    def write(
        self, tokens: "array[int] | memoryview", logits: "array[float] | memoryview[float]"
    ) -> None:
        """Writes the first rows; the numbers are of the C types int and float."""
        end = _ROW_NUMBERS * len(tokens)
        self._ids[0:end:_ROW_NUMBERS] = memoryview(tokens)
        self._logits[1:end:_ROW_NUMBERS] = memoryview(logits)

    def part(self, start: int, count: int) -> Any:
        """What llama.cpp is given of them: `count` rows, in no order, none of them chosen."""
        data = ctypes.pointer(self.memory[start]) if start else self._data
        return api.llama_token_data_array(data=data, size=count, selected=-1, sorted=False)
