"""A small model that guesses what the large one will say.

It reads the same tokens in a context of its own. Both must have one vocabulary.
"""

from collections.abc import Mapping
from typing import Final

from olmkit.engine.runner.bindings import Batch, Context, Model
from olmkit.engine.runner.promptcache.parked import common_prefix
from olmkit.engine.runner.speculation.drafter import Computed, Drafter, Wanted

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


class DraftModel(Drafter):
    """The draft model of one loaded model, with a sequence for each of its slots."""

    def __init__(self, model: Model, context: Context) -> None:
        super().__init__(model, context, Batch(context.batch_tokens))
        self._held: dict[int, list[int]] = {}
        """The tokens that its cache has, by slot."""

    def close(self) -> None:
        """Frees the context and the weights."""
        super().close()
        self._model.close()

    def follow(self, target: Context, computed: Mapping[int, Computed]) -> None:
        """It reads the texts by itself."""

    def read_ahead(self, lengths: Mapping[int, int]) -> bool:
        """A text is read when there is to be a draft."""
        return False

    def _begin(self, wanted: Mapping[int, Wanted]) -> tuple[dict[int, int], bool]:
        """A text that the draft model has not read yet is read first, a batch at a time: there are
        no guesses for it before, and other requests need not wait.
        """
        self._keep_room(wanted)
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

    def _add_guess(self, slot: int, token: int, index: int) -> int:
        held = self._held[slot]
        held.append(token)
        return self._batch.add([token], position=len(held) - 1, sequence=slot, outputs=1)

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

    def _forget_all(self) -> None:
        self._held.clear()
