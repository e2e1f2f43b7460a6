"""The head in a model's own file that guesses what the model will say (MTP, "NextN").

It is one more layer. For a position it takes the token there and the model's state behind the token
before, and guesses the token that follows; for guesses further ahead, its own state takes the place
of the model's. It has a KV cache of its own, with the same positions as the model's, so it must be
given the states of all that the model computes.

States that the model did not compute while the head looked on are not to be had any more: those of
a beginning that came from a cache, and of steps with more requests than are drafted for. What the
head has of that text it goes on from; without anything it begins where the states do. The state
before is zero there, as at the beginning of a text. Such guesses are worse; they are checked all
the same.

Source: DeepSeek-V3 Technical Report, 2024, arXiv:2412.19437 (section 2.2); llama.cpp,
common/speculative.cpp, common_speculative_impl_draft_mtp.
"""

from collections.abc import Collection, Mapping
from typing import Final

from olmkit.engine.runner.bindings import Batch, Context, Model
from olmkit.engine.runner.promptcache.parked import common_prefix
from olmkit.engine.runner.speculation.drafter import Computed, Drafter, TextKey, Wanted

_MOST_GATHERED: Final = 64
"""Tokens whose states wait for a draft: as many together cost little more than a few."""
_MOST_DRAFTED: Final = 32
"""More than so many tokens are not left by a checked draft: a text is being read."""


class _Text:
    """What the head has of the text in one slot.

    Its cache holds the positions from `first` to `read`. `states` are those of the model from the
    position before `read` to the end of `tokens`, one after the other.
    """

    def __init__(self, key: TextKey, tokens: list[int], state_bytes: int) -> None:
        """Nothing, behind these tokens."""
        self.key = key
        self.tokens = tokens
        self.first = self.read = len(tokens)
        self.states = bytearray(state_bytes)
        self._state_bytes = state_bytes

    @property
    def waiting(self) -> int:
        """Tokens that can be read."""
        return max(0, len(self.tokens) - self.read)

    def take(self, most: int) -> tuple[list[int], bytes]:
        """The next tokens to read, with the state before each."""
        tokens = self.tokens[self.read : self.read + most]
        self.read += len(tokens)
        return tokens, self.take_states(len(tokens))

    def take_states(self, count: int) -> bytes:
        """The first of the states, which are used up then."""
        size_bytes = count * self._state_bytes
        with memoryview(self.states) as all_of_them:
            states = bytes(all_of_them[:size_bytes])
        del self.states[:size_bytes]
        return states

    def cut(self, length: int, *, most_read: int) -> bool:
        """Forgets all from `length` tokens on; whether the cache must forget what is there.

        `most_read`: so many positions may be read for the cache to hold nothing else.
        """
        del self.tokens[length:]
        if self.read > most_read:
            self.read, self.first = length, min(self.first, length)
            self.states = bytearray(self._state_bytes)
            return True
        del self.states[(length + 1 - self.read) * self._state_bytes :]
        return False

    def beginning(self, key: TextKey, length: int) -> "_Text":
        """The same of the first `length` tokens, for another slot with as much of the cache."""
        text = _Text(key, self.tokens[:length], self._state_bytes)
        text.first, text.read = self.first, min(self.read, length)
        if self.read <= length:
            text.states = self.states[: (length + 1 - self.read) * self._state_bytes]
        return text


class DraftHead(Drafter):
    """The head of one loaded model, with a sequence for each of the model's slots."""

    def __init__(self, model: Model, context: Context) -> None:
        """`context` is the head's; the model's own keeps its states."""
        batch = Batch(context.batch_tokens, state_bytes=context.head_state_bytes)
        super().__init__(model, context, batch)
        self._texts: dict[int, _Text] = {}
        self._ahead: dict[int, int] = {}
        """Guesses that the cache has behind a text, by slot."""

    def follow(self, target: Context, computed: Mapping[int, Computed]) -> None:
        """Takes in the tokens, and the states that the model's context has of them."""
        for slot, one in computed.items():
            text = self._text_before(slot, one)
            text.tokens += one.tokens
            text.states += target.states(one.index, len(one.tokens))

    def read_ahead(self, lengths: Mapping[int, int]) -> bool:
        """Reads where many states wait."""
        for slot, length in lengths.items():
            self._cut(slot, length)
        slots = [slot for slot in lengths if self._waiting(slot) >= _MOST_GATHERED]
        if slots:
            self._keep_room(lengths, 0)
            self._read(slots)
        return bool(slots)

    def _waiting(self, slot: int) -> int:
        return self._texts[slot].waiting if slot in self._texts else 0

    def draft(self, wanted: Mapping[int, Wanted]) -> tuple[dict[int, list[int]], bool]:
        """As of a draft model. What was guessed is forgotten: it was computed with the head's own
        states, and comes with those of the model if it is right."""
        drafts = super().draft(wanted)
        for slot in self._ahead:
            self._context.truncate(slot, self._texts[slot].read)
        return drafts

    def _begin(self, wanted: Mapping[int, Wanted]) -> tuple[dict[int, int], bool]:
        self._ahead = {}
        ready = [slot for slot, one in wanted.items() if self._has_all_before(slot, one)]
        is_reading = any(self._waiting(slot) > _MOST_DRAFTED for slot in ready)
        self._keep_room(ready, sum(one.most for one in wanted.values()))
        if not self._read(ready):
            return {}, True
        self._batch.clear()
        indexes = {}
        for slot in ready:
            text, last = self._texts[slot], wanted[slot].tokens[-1]
            states = text.take_states(1)
            indexes[slot] = self._batch.add(
                [last], position=text.read, sequence=slot, outputs=1, states=states
            )
            text.read += 1
        if indexes and not self._decode():
            return {}, True
        return indexes, is_reading

    def _has_all_before(self, slot: int, one: Wanted) -> bool:
        """Whether the states of all of a text are here but that of its last token, which is not
        computed yet."""
        text, length = self._texts.get(slot), len(one.tokens) - 1
        if text is None or text.key != one.key:
            return False
        self._cut(slot, length)
        return len(text.tokens) == length and text.read <= length

    def _add_guess(self, slot: int, token: int, index: int) -> int:
        ahead = self._ahead.get(slot, 0)
        self._ahead[slot] = ahead + 1
        return self._batch.add(
            [token],
            position=self._texts[slot].read + ahead,
            sequence=slot,
            outputs=1,
            states=self._context.output_state(index),
        )

    def _read(self, slots: Collection[int]) -> bool:
        """Reads all that waits in these slots; False: that failed."""
        self._batch.clear()
        for slot in slots:
            text = self._texts[slot]
            while text.waiting:
                if self._batch.count == self._batch.capacity:
                    if not self._decode():
                        return False
                    self._batch.clear()
                position = text.read
                tokens, states = text.take(self._batch.capacity - self._batch.count)
                self._batch.add(tokens, position=position, sequence=slot, outputs=0, states=states)
        return not self._batch.count or self._decode()

    def _text_before(self, slot: int, one: Computed) -> _Text:
        """What there is of a text up to where the step begins."""
        text = self._texts.get(slot)
        if text is not None:
            if text.key == one.key:
                self._cut(slot, min(one.start, len(text.tokens)))
            else:
                same = min(common_prefix(text.tokens, one.text), one.start)
                self._cut(slot, same, most_read=same)
                text.key = one.key
        if text is None or len(text.tokens) != one.start:
            text = self._begun_elsewhere(slot, one)
            self._texts[slot] = text
        return text

    def _begun_elsewhere(self, slot: int, one: Computed) -> _Text:
        """What another slot has of a text's beginning; else nothing."""
        self._context.truncate(slot, 0)
        for other, text in self._texts.items():
            is_known = text.first < min(text.read, one.start) and other != slot
            if is_known and common_prefix(text.tokens, one.text) >= one.start:
                begun = text.beginning(one.key, one.start)
                self._context.share(other, slot, begun.read)
                return begun
        return _Text(one.key, one.text[: one.start], self._context.head_state_bytes)

    def _cut(self, slot: int, length: int, *, most_read: int | None = None) -> None:
        """Forgets what there is of a slot's text from `length` tokens on."""
        text = self._texts.get(slot)
        if text is None or length > len(text.tokens):
            return
        # What follows a text that goes on was read with the right token, if it was.
        most_read = length + 1 if most_read is None else most_read
        if text.cut(length, most_read=most_read):
            window = self._model.window_tokens
            first = self._context.first_position(slot)
            is_within = not window or first <= max(0, length - window)
            if not (length and is_within and self._context.truncate(slot, length)):
                self._context.truncate(slot, 0)
                text.first = length

    def _keep_room(self, slots: Collection[int], guesses: int) -> None:
        """Forgets other texts where there would be no room."""
        held = sum(len(text.tokens) + 1 - text.first for text in self._texts.values())
        if held + guesses > self._context.options.context_tokens:
            for slot in [slot for slot in self._texts if slot not in slots]:
                self._context.truncate(slot, 0)
                del self._texts[slot]

    def _forget_all(self) -> None:
        self._texts.clear()
        self._ahead.clear()
