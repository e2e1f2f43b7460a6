"""What guesses of a draft model and of a model's own head have in common.

Both have a context of their own, in which each slot has a sequence, and say the likeliest next
tokens for all requests in one step a token. The model checks them as it checks guesses from the
text: only what it says itself is taken, so a bad guess costs time and nothing else.

Source: Leviathan and others, Fast Inference from Transformers via Speculative Decoding, 2023,
arXiv:2211.17192.
"""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from olmkit.engine.runner.bindings import Batch, Context, Model

LEAST_PROBABILITY: Final = 0.4
"""A guess that the drafter itself believes less in ends a draft."""

TextKey = tuple[int, int]
"""A request, and how many tokens of its text were forgotten: with the same, a text only grew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be guessed for one request."""

    key: TextKey
    tokens: list[int]
    """The whole text so far."""
    most: int
    """Tokens to guess at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """What the model has just computed of one request."""

    key: TextKey
    text: list[int]
    """All of it, as far as it is known."""
    start: int
    """Where in it the step began."""
    tokens: list[int]
    """Those of the step, guesses included."""
    index: int
    """Where in the batch the first of them was."""


class Drafter(abc.ABC):
    """The drafter of one loaded model."""

    def __init__(self, model: Model, context: Context, batch: Batch) -> None:
        self._model = model
        self._context = context
        self._batch = batch
        trained = model.trained_context_tokens or context.options.context_tokens
        self._most_tokens = min(context.options.context_tokens, trained)

    def close(self) -> None:
        """Frees what is the drafter's own."""
        self._context.close()

    def use_threads(self, threads: int) -> None:
        """Sets how many threads compute from the next step on."""
        self._context.use_threads(threads)

    @abc.abstractmethod
    def follow(self, target: Context, computed: Mapping[int, Computed]) -> None:
        """Takes in, by slot, what the model has just computed in its context."""

    @abc.abstractmethod
    def read_ahead(self, lengths: Mapping[int, int]) -> bool:
        """Computes what has gathered where it is much; whether there was any.

        `lengths`: how many tokens of each slot were right, guesses that were not left out.
        """

    def has_room(self, wanted: Mapping[int, Wanted]) -> bool:
        """Whether these texts and guesses fit the context, each and together."""
        lengths = [len(one.tokens) + one.most for one in wanted.values()]
        total = sum(lengths)
        return max(lengths, default=0) <= self._most_tokens and (
            total <= self._context.options.context_tokens
        )

    def draft(self, wanted: Mapping[int, Wanted]) -> tuple[dict[int, list[int]], bool]:
        """Guesses by slot, and whether the time that it took is that of guessing."""
        indexes, is_reading = self._begin(wanted)
        drafts: dict[int, list[int]] = {slot: [] for slot in indexes}
        while indexes:
            guesses = {slot: self._likeliest(index) for slot, index in indexes.items()}
            before, indexes = indexes, {}
            self._batch.clear()
            for slot, (token, probability) in guesses.items():
                if probability < LEAST_PROBABILITY:
                    continue
                drafts[slot].append(token)
                is_over = len(drafts[slot]) >= wanted[slot].most
                if not is_over and not self._model.is_end_of_generation(token):
                    indexes[slot] = self._add_guess(slot, token, before[slot])
            if indexes and not self._decode():
                break
        return drafts, not is_reading

    @abc.abstractmethod
    def _begin(self, wanted: Mapping[int, Wanted]) -> tuple[dict[int, int], bool]:
        """Reads what is new of the texts; where their outputs are, and whether more was to read
        than a checked draft leaves."""

    @abc.abstractmethod
    def _add_guess(self, slot: int, token: int, index: int) -> int:
        """Puts a guess, which the output at `index` made, into the batch; returns its own index."""

    @abc.abstractmethod
    def _forget_all(self) -> None:
        """Nothing is held any more."""

    def _decode(self) -> bool:
        """Computes the batch; after a failure nothing is held any more."""
        if self._context.decode(self._batch) == 0:
            return True
        self._context.clear_memory()
        self._forget_all()
        return False

    def _likeliest(self, index: int) -> tuple[int, float]:
        """The likeliest token of an output, and its probability."""
        import numpy as np

        logits = np.frombuffer(self._context.logits(index), dtype=np.float32)
        token = int(logits.argmax())
        return token, float(1 / np.exp(logits - logits[token]).sum())
