"""Slots of which each has a part of the KV cache for itself: a stream, in llama.cpp's words.

Attention then looks at the cells of one request and not at those of all: a tenth more tokens a
second with 16 and 64 requests on an H200, and with 8 on two cores. In return llama.cpp computes
only such sequences at once whose numbers follow each other; what lies apart is computed one after
the other, at down to half the rate. So a request gets the first free slot, what
is idle in it moves, and where a few slots (`Streams.filled_gap`) lie between those of a step, each
of them gets a token that is forgotten after it. A prefix cannot lie in cells of two streams: it is
copied.

Source: `split_equal` of https://github.com/ggml-org/llama.cpp/blob/master/src/llama-batch.cpp
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from olmkit.engine.runner.bindings import Context
from olmkit.engine.runner.promptcache.parked import (
    LEAST_TOKENS,
    Parked,
    ParkedStates,
    Reach,
)
from olmkit.engine.runner.promptcache.slots import Slot, SlotPool, oldest
from olmkit.engine.runner.promptcache.stored import StoredState

_MOST_MOVES: Final = 4
"""Idle texts that move before one step, for a copy takes a millisecond; others are given up."""


class StreamSlots(SlotPool):
    """Slots with separate streams (`ContextOptions.streams`)."""

    def __init__(
        self, context: Context, reach: Reach, parked: ParkedStates, *, capacity_tokens: int
    ) -> None:
        super().__init__(context, reach, parked, capacity_tokens=capacity_tokens)
        assert context.options.streams is not None
        self._most_filled = context.options.streams.filled_gap
        self._are_on_cards = context.options.streams.are_on_cards
        self._stream_tokens = context.options.context_tokens // context.options.sequences
        self._filled: list[Slot] = []
        """Slots that have a token in the step at hand which is to be forgotten."""
        self._copying: set[int] = set()
        """Slots of which the next step makes or takes a copy: their states are not what they seem
        until then.
        """
        self._moves = 0

    def acquire(self, tokens: list[int], variant: int = 0) -> Slot:
        """As for one pool, in the first free slot or one near it with the prompt's beginning."""
        found = self._find(tokens, variant)
        first = self._free[0]
        slot, length = first, found.length
        if found.idle is not None and self._is_near(found.idle, first):
            slot = found.idle
            self._keep_rest(slot, length)
        elif found.parked is not None:
            slot, length = self._restored(self._free, found.parked, length, variant)
        elif source := found.idle or found.busy:
            self._clear(first, but=source)
            self.share(source, first, length)
            if source.is_free and length == source.length:
                self.forget(source)
        else:
            self._clear(first)
        self._cut(slot, length)
        slot.tokens, slot.is_free, slot.variant = tokens, False, variant
        return slot

    def share(self, source: Slot, target: Slot, length: int) -> None:
        """Puts the first `length` tokens of one slot into another, in place of what that holds."""
        self.forget(target)
        if self._are_on_cards or not self._copied(source, target, length):
            self._context.share(source.index, target.index, length)
            self._copying |= {source.index, target.index}
        target.length = length

    def _copied(self, source: Slot, target: Slot, length: int) -> bool:
        """Copies what a slot holds, and not the whole stream; False: it cannot be had now."""
        if {source.index, target.index} & self._copying:
            return False
        state = self._context.sequence_state(source.index)
        if not self._context.restore_sequence(target.index, state):
            return False
        return self._context.truncate(target.index, length)

    def fillers(self, indexes: Iterable[int]) -> list[Slot]:
        """The slots that lie between those of a step, by their numbers in order, and must have a
        token in it, for the others to be computed at once.
        """
        for before, after in pairwise(indexes):
            gap = self._slots[before + 1 : after]
            has_room = all(slot.length < self._stream_tokens for slot in gap)
            if has_room and len(gap) <= self._most_filled:
                self._filled += gap
        return self._filled

    def end_step(self) -> None:
        """Forgets what only filled gaps; copies are made now."""
        for slot in self._filled:
            self.drop_behind(slot)
        self._filled = []
        self._copying.clear()
        self._moves = 0

    def _is_near(self, slot: Slot, first: Slot) -> bool:
        return slot.index - first.index <= self._most_filled

    def _restored(
        self, free: list[Slot], parked: Parked | StoredState, length: int, variant: int
    ) -> tuple[Slot, int]:
        """As for one pool; in a slot that no copy is about to be made of or into."""
        settled = [slot for slot in free if slot.index not in self._copying]
        if settled:
            return super()._restored(settled[:1], parked, length, variant)
        self._clear(free[0])
        return free[0], 0

    def _clear(self, slot: Slot, *, but: Slot | None = None) -> None:
        """Empties a free slot; what it holds moves to where it is missed least, if to anywhere: on
        cards to another stream, else to where parked states are.
        """
        others = [one for one in self._free if one is not slot and one is not but]
        may_move = self._are_on_cards and self._moves < _MOST_MOVES
        if slot.length >= LEAST_TOKENS and others and may_move:
            victim = oldest([slot, *others])
            if victim is not slot:
                self._park(victim)
                self.share(slot, victim, slot.length)
                victim.tokens, victim.variant = slot.tokens, slot.variant
                victim.last_used = slot.last_used
                self._moves += 1
                self.forget(slot)
                return
        self._park(slot)
        self.forget(slot)

    def copy_ahead(self) -> None:
        """What is idle stays where it is, or moves to another stream."""

    def _park_idle(self, *, but: Slot) -> None:
        """What is idle disturbs nobody here."""

    def _park(self, slot: Slot) -> bool:
        return slot.index not in self._copying and super()._park(slot)
