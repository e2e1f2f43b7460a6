"""A small model that guesses what the large one will say.

It reads the same tokens in a context of its own and says the likeliest next ones, for all requests
in one step a token. The large model checks them as it checks guesses from the text: only what it
says itself is taken, so a bad guess costs time and nothing else. Both must have one vocabulary.

Source: Leviathan and others, Fast Inference from Transformers via Speculative Decoding, 2023,
arXiv:2211.17192.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from olmkit.engine.runner.bindings import Batch, Context, Model
from olmkit.engine.runner.promptcache.parked import common_prefix

LEAST_PROBABILITY: Final = 0.4
"""A guess that the draft model itself believes less in ends a draft."""
_MOST_VOCABULARY_DIFFERENCE: Final = 128
"""Tokens that one vocabulary may have more than the other, padding or added ones at the end.
Source: llama.cpp, common/speculative.cpp, SPEC_VOCAB_MAX_SIZE_DIFFERENCE."""
_FIRST_COMPARED: Final = 5
"""Converters name the tokens before differently. Source: SPEC_VOCAB_CHECK_START_TOKEN_ID there."""

_MOST_COMPARED: Final = 8192
"""Of a large vocabulary, spread over all of it: nothing but time depends on the rest."""


def vocabulary_problem(model: Model, draft: Model) -> str:
    """Why the draft model cannot guess for the model; empty where it can."""
    ours, theirs = model.vocabulary_tokens, draft.vocabulary_tokens
    if abs(ours - theirs) > _MOST_VOCABULARY_DIFFERENCE:
        return f"its vocabulary has {theirs} tokens, that of the model {ours}"
    if (model.adds_bos, model.bos) != (draft.adds_bos, draft.bos) and model.adds_bos:
        return "its texts begin with another token than those of the model"
    most = min(ours, theirs)
    for token in range(_FIRST_COMPARED, most, max(1, most // _MOST_COMPARED)):
        if model.token_name(token) != draft.token_name(token):
            return f"its vocabulary is another than that of the model: token {token} differs"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be guessed for one request."""

    tokens: list[int]
    """The whole text so far."""
    most: int
    """Tokens to guess at most."""


class DraftModel:
    """The draft model of one loaded model, with a sequence for each of its slots."""

    def __init__(self, model: Model, context: Context) -> None:
        self._model = model
        self._context = context
        self._batch = Batch(context.batch_tokens)
        self._held: dict[int, list[int]] = {}
        """The tokens that its cache has, by slot."""
        self._threads = 0
        trained = model.trained_context_tokens or context.options.context_tokens
        self._most_tokens = min(context.options.context_tokens, trained)

    def close(self) -> None:
        """Frees the context and the weights."""
        self._context.close()
        self._model.close()

    def use_threads(self, threads: int) -> None:
        """Sets how many threads compute from the next step on."""
        if threads != self._threads:
            self._context.use_threads(threads)
            self._threads = threads

    def draft(self, wanted: Mapping[int, Wanted]) -> tuple[dict[int, list[int]], bool]:
        """Guesses by slot, and whether the time that it took is that of guessing.

        A text that the draft model has not read yet is read first, a batch at a time: there are no
        guesses for it before, and other requests need not wait.
        """
        self._keep_room(wanted)
        indexes, is_reading = self._read(wanted)
        drafts: dict[int, list[int]] = {slot: [] for slot in indexes}
        while indexes:
            guesses = {slot: self._likeliest(index) for slot, index in indexes.items()}
            self._batch.clear()
            indexes = {}
            for slot, (token, probability) in guesses.items():
                if probability < LEAST_PROBABILITY:
                    continue
                drafts[slot].append(token)
                is_over = len(drafts[slot]) >= wanted[slot].most
                if is_over or self._model.is_end_of_generation(token):
                    continue
                held = self._held[slot]
                indexes[slot] = self._batch.add(
                    [token], position=len(held), sequence=slot, outputs=1
                )
                held.append(token)
            if indexes and not self._decode():
                break
        return drafts, not is_reading

    def _read(self, wanted: Mapping[int, Wanted]) -> tuple[dict[int, int], bool]:
        """Reads what is new of the texts; where their outputs are, and whether more was to read
        than a checked draft leaves."""
        self._batch.clear()
        indexes, is_reading = {}, False
        for slot, one in wanted.items():
            left = self._batch.capacity - self._batch.count
            held = self._held.setdefault(slot, [])
            # The last token of the text gives the output.
            self._cut(slot, min(common_prefix(held, one.tokens), len(one.tokens) - 1))
            missing = one.tokens[len(held) : len(held) + left]
            is_whole = len(held) + len(missing) == len(one.tokens)
            is_reading = is_reading or len(one.tokens) - len(held) > 2
            if missing and self._is_known(missing):
                index = self._batch.add(
                    missing, position=len(held), sequence=slot, outputs=int(is_whole)
                )
                held += missing
                if is_whole:
                    indexes[slot] = index
        if self._batch.count and not self._decode():
            return {}, True
        return indexes, is_reading

    def _keep_room(self, wanted: Mapping[int, Wanted]) -> None:
        """Forgets texts of others where there would be no room, or where new ones come: attention
        goes over all that is held."""
        is_new = any(slot not in self._held for slot in wanted)
        needed = sum(len(one.tokens) + one.most for one in wanted.values())
        others = sum(len(held) for slot, held in self._held.items() if slot not in wanted)
        if is_new or needed + others > self._context.options.context_tokens:
            for slot in [slot for slot in self._held if slot not in wanted]:
                self._cut(slot, 0)
                del self._held[slot]

    def has_room(self, wanted: Mapping[int, Wanted]) -> bool:
        """Whether these texts and guesses fit the context, each and together."""
        lengths = [len(one.tokens) + one.most for one in wanted.values()]
        total = sum(lengths)
        return max(lengths, default=0) <= self._most_tokens and (
            total <= self._context.options.context_tokens
        )

    def _is_known(self, tokens: list[int]) -> bool:
        return max(tokens) < self._model.vocabulary_tokens

    def _cut(self, slot: int, length: int) -> None:
        """Forgets what is held of a slot from `length` tokens on; all where that cannot be."""
        held = self._held[slot]
        if length >= len(held):
            return
        window = self._model.window_tokens
        first = self._context.first_position(slot)
        is_within = not window or first <= max(0, length - window)
        if not (length and is_within and self._context.truncate(slot, length)):
            self._context.truncate(slot, 0)
            length = 0
        del held[length:]

    def _decode(self) -> bool:
        """Computes the batch; after a failure nothing is held any more."""
        if self._context.decode(self._batch) == 0:
            return True
        self._context.clear_memory()
        self._held.clear()
        return False

    def _likeliest(self, index: int) -> tuple[int, float]:
        """The likeliest token of an output, and its probability."""
        import numpy as np

        logits = np.frombuffer(self._context.logits(index), dtype=np.float32)
        token = int(logits.argmax())
        return token, float(1 / np.exp(logits - logits[token]).sum())
