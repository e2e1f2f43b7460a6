"""The slots of the KV pool that requests run in.

A slot is one of llama.cpp's sequence ids. What it holds stays when its request ends, so that the
next request with the same beginning need not compute it again; when another request comes first,
it leaves the pool for main memory (`parked`).

A prefix that requests have in common lies in the pool once: a slot takes it over from another by
having its id added to the same cells. Each slot remembers from which one it has how much, so that
cells are counted once and no position that others rely on is moved.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from olmkit.engine.runner.bindings import Context
from olmkit.engine.runner.promptcache.parked import Parked, ParkedStates, Reach, common_prefix
from olmkit.engine.runner.promptcache.stored import StoredState

_LEAST_SHARED_PART: Final = 0.1
"""Part of a prompt that a slot must share to be taken for it (llama-server's figure)."""
_LEAST_KEPT_PART: Final = 0.5
"""A slot that would lose more than the rest of what it holds is copied before."""


@dataclass(slots=True, kw_only=True, eq=False)
class Slot:
    """One sequence id and what the KV pool holds of it."""

    index: int
    tokens: list[int] = field(default_factory=list)
    """The first `length` of them are in the pool; shared with the request that runs here."""
    length: int = 0
    last_used: int = 0
    """Step in which its last request ended."""
    is_free: bool = True
    shared_with: "Slot | None" = None
    """The slot in whose cells its first `shared` tokens lie; they are counted there."""
    shared: int = 0
    variant: int = 0
    """Of the model, that computed what it holds."""

    @property
    def held(self) -> list[int]:
        """The tokens that are in the pool."""
        return self.tokens[: self.length]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where the most of a prompt is: in an idle slot, a parked state or a running request's slot;
    in none of them when they have too little of it.
    """

    length: int = 0
    """How many of the prompt's tokens need not be computed."""
    idle: Slot | None = None
    parked: Parked | StoredState | None = None
    busy: Slot | None = None


class SlotPool:
    """Gives slots to requests, and keeps what they leave as long as there is room."""

    def __init__(
        self, context: Context, reach: Reach, parked: ParkedStates, *, capacity_tokens: int
    ) -> None:
        self._context = context
        self._reach = reach
        self._parked = parked
        self._capacity_tokens = capacity_tokens
        self._slots = [Slot(index=index) for index in range(context.options.sequences)]

    @property
    def has_free_slot(self) -> bool:
        """A request can be given a slot."""
        return bool(self._free)

    @property
    def _free(self) -> list[Slot]:
        return [slot for slot in self._slots if slot.is_free]

    @property
    def held_tokens(self) -> int:
        """Tokens in the pool, of running and of ended requests; a shared prefix counts once."""
        return sum(slot.length - slot.shared for slot in self._slots)

    @property
    def busy_tokens(self) -> int:
        """Tokens in the pool that running requests use; a shared prefix counts once."""
        busy = [slot for slot in self._slots if not slot.is_free]
        shared = sum(one.shared for one in busy if one.shared_with and not one.shared_with.is_free)
        return sum(slot.length for slot in busy) - shared

    def acquire(self, tokens: list[int], variant: int = 0) -> Slot:
        """A free slot for these tokens; its `length` says how many of them it holds already, as
        that variant of the model computes them.

        The idle slot, the parked state or the running request that spares most of the prompt;
        else the slot unused for the longest time. At least one token is left to compute, for
        there must be an output. What the other idle slots hold leaves the pool.
        """
        found = self._find(tokens, variant)
        free = self._free
        length = found.length
        if found.busy is not None:
            slot = self._vacated(free)
            self.share(found.busy, slot, length)
        elif found.parked is not None:
            slot, length = self._restored(free, found.parked, length, variant)
        else:
            slot = found.idle or oldest(free)
        self._keep_rest(slot, length)
        self._cut(slot, length)
        self._park_idle(but=slot)
        slot.tokens, slot.is_free, slot.variant = tokens, False, variant
        return slot

    def acquire_alone(self, tokens: list[int], variant: int = 0) -> Slot:
        """The first slot, empty, in a pool that holds nothing: always the same state.

        No request may be running.
        """
        slot = self._slots[0]
        for one in self._slots:
            self._park(one)
            self._shrink(one, 0)
        self._context.clear_memory()
        slot.tokens, slot.is_free, slot.variant = tokens, False, variant
        return slot

    def release(self, slot: Slot, step: int) -> None:
        """Takes a slot back; its tokens stay in the pool for now."""
        slot.is_free, slot.last_used = True, step

    def copy_ahead(self) -> None:
        """Copies what idle slots hold while nobody waits, so that they can be emptied at once when
        another request comes; not what takes long, of which most would be copied in vain.
        """
        for slot in self._free:
            if slot.length and self._parked.is_cheap(slot.length):
                self._park(slot)

    def drop_behind(self, slot: Slot) -> None:
        """Takes tokens that were only tried out of the pool: all behind what the slot holds."""
        self._context.truncate(slot.index, slot.length)

    def keep_beginning(self, slot: Slot) -> None:
        """Copies what a slot holds where it could not be cut back to this later."""
        if not self._reach.is_full:
            self._park(slot)

    def remove_span(self, slot: Slot, start: int, count: int) -> None:
        """Takes `count` tokens from `start` on out of a slot, whose `tokens` lack them already.

        Where the cache cannot move what is behind them, that must be computed again.
        """
        end = start + count
        may_move = self._context.can_shift and self._shared_end(slot) <= end
        if may_move and end <= slot.length:
            length = slot.length
            self._context.remove_span(slot.index, start, count)
            self._shrink(slot, start)
            slot.length = length - count
        else:
            self.cut(slot, start)

    def cut(self, slot: Slot, length: int) -> None:
        """Forgets what a slot holds from `length` tokens on; all where it cannot be cut there."""
        length = min(length, slot.length)
        first_position = self._context.first_position(slot.index)
        self._cut(
            slot, self._reach.reusable(length, held=slot.length, first_position=first_position)
        )

    def save(self, *, until_s: float) -> None:
        """Writes what slots hold and what left them to disk, as far as the time suffices."""
        held = sorted(self._slots, key=lambda slot: slot.last_used, reverse=True)
        own = [(one.index, one.held) for one in held if not one.variant]
        self._parked.save(own, until_s=until_s)

    def fillers(self, indexes: Iterable[int]) -> list[Slot]:
        """Slots that must have a token in a step of the slots `indexes`: none, in one pool."""
        return []

    def end_step(self) -> None:
        """A step has been computed."""

    def make_room(self, tokens: int) -> bool:
        """Empties idle slots, the oldest first, until the pool has room; False: it has not."""
        while self.held_tokens + tokens > self._capacity_tokens:
            if not self.forget_oldest():
                return False
        return True

    def forget_oldest(self) -> bool:
        """Empties the idle slot unused for the longest time; False: all are empty."""
        idle = [slot for slot in self._slots if slot.is_free and slot.length]
        if not idle:
            return False
        slot = min(idle, key=lambda slot: slot.last_used)
        self._park(slot)
        self.forget(slot)
        return True

    def forget(self, slot: Slot) -> None:
        """Empties a slot."""
        self._context.truncate(slot.index, 0)
        self._shrink(slot, 0)

    def can_share(self, source: Slot, length: int) -> bool:
        """Whether another slot can have the first `length` tokens of this one as they are."""
        if self._reach.is_recurrent or not 0 < length <= source.length:
            return False
        first_position = self._context.first_position(source.index)
        held = source.length
        return bool(self._reach.reusable(length, held=held, first_position=first_position))

    def share(self, source: Slot, target: Slot, length: int) -> None:
        """Puts the first `length` tokens of one slot into another, in place of what that holds."""
        self.forget(target)
        self._context.share(source.index, target.index, length)
        target.shared_with, target.shared, target.length = source, length, length

    def _find(self, tokens: list[int], variant: int) -> Found:
        """What spares most of a prompt: an idle slot before a parked state before a copy."""
        idle, length = None, 0
        for slot in self._free:
            spared = self._spared(slot, tokens) if slot.variant == variant else 0
            if spared > length:
                idle, length = slot, spared
        parked, parked_length = self._parked.find(tokens, variant)
        busy, busy_length = self._busiest(tokens, variant)
        if max(length, parked_length, busy_length) < _LEAST_SHARED_PART * len(tokens):
            return Found()
        if busy is not None and busy_length > max(length, parked_length):
            return Found(length=busy_length, busy=busy)
        if parked is not None and parked_length > length:
            return Found(length=parked_length, parked=parked)
        return Found(length=length, idle=idle)

    def _spared(self, slot: Slot, tokens: list[int]) -> int:
        """How many of a prompt's tokens the slot has, so that it can go on behind them."""
        shared = min(common_prefix(slot.held, tokens), len(tokens) - 1)
        if not shared:
            return 0
        first_position = self._context.first_position(slot.index)
        return self._reach.reusable(shared, held=slot.length, first_position=first_position)

    def _keep_rest(self, slot: Slot, length: int) -> None:
        """Parks what a slot holds before it is cut to `length`, unless that is most of it."""
        if length < _LEAST_KEPT_PART * slot.length:
            self._park(slot)

    def _park(self, slot: Slot) -> bool:
        """Copies what a slot holds to main memory; False: it is not kept there."""
        return self._parked.park(slot.index, slot.held, slot.variant)

    def _restored(
        self, free: list[Slot], parked: Parked | StoredState, length: int, variant: int
    ) -> tuple[Slot, int]:
        """A slot into which the state was put, and how much of it counts: 0 without room."""
        slot = self._vacated(free)
        if not self.make_room(len(parked.tokens)) or not self._parked.restore(parked, slot.index):
            self.forget(slot)
            return slot, 0
        slot.tokens, slot.length = list(parked.tokens), len(parked.tokens)
        slot.variant = variant
        return slot, length

    def _vacated(self, free: list[Slot]) -> Slot:
        """The slot unused for the longest time, empty."""
        slot = oldest(free)
        self._park(slot)
        self.forget(slot)
        return slot

    def _busiest(self, tokens: list[int], variant: int) -> tuple[Slot | None, int]:
        """The running request's slot that has most of a prompt, and how much of it."""
        best, most = None, 0
        for slot in self._slots:
            if slot.is_free or not slot.length or slot.variant != variant:
                continue
            length = min(common_prefix(slot.held, tokens), len(tokens) - 1)
            if length > most and self.can_share(slot, length):
                best, most = slot, length
        return best, most

    def _park_idle(self, *, but: Slot) -> None:
        """Takes what idle slots hold out of the pool, as far as there is memory for it."""
        for slot in self._slots:
            idle = slot.is_free and slot.length and slot is not but
            if idle and self._park(slot):
                self.forget(slot)

    def _cut(self, slot: Slot, length: int) -> None:
        if length == slot.length:
            return
        if length and self._context.truncate(slot.index, length):
            self._shrink(slot, length)
        else:
            self.forget(slot)

    def _shared_end(self, slot: Slot) -> int:
        """How many of a slot's first tokens lie in cells that other slots use as well."""
        return max(slot.shared, *(one.shared for one in self._slots if one.shared_with is slot), 0)

    def _shrink(self, slot: Slot, length: int) -> None:
        """Notes that a slot holds only `length` tokens any more.

        Slots that have more than that in common with it have it in common with each other still:
        the one with most takes its place for them.
        """
        slot.length = length
        slot.shared = min(slot.shared, length)
        sharers = [one for one in self._slots if one.shared_with is slot and one.shared > length]
        if sharers:
            heir = max(sharers, key=lambda one: one.shared)
            for one in sharers:
                one.shared_with = heir
            heir.shared_with, heir.shared = slot, length
        for one in (slot, *sharers):
            if not one.shared:
                one.shared_with = None


def oldest(free: list[Slot]) -> Slot:
    """An empty slot, else the one unused for the longest time."""
    return min(free, key=lambda slot: (slot.length > 0, slot.last_used))
