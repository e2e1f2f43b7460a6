"""Running requests, and the slots of the KV pool that they run in.

A slot is one of llama.cpp's sequence ids. What it holds stays when its request ends, so that the
next request with the same beginning need not compute it again.
"""

from collections.abc import Sequence as ReadableSequence
from dataclasses import dataclass, field
from typing import Final

from olmkit.engine.runner.bindings import Context, Sampler
from olmkit.engine.runner.decoding.constraint import Guide
from olmkit.engine.runner.decoding.detokenizer import Detokenizer
from olmkit.engine.runner.decoding.stops import StopScanner
from olmkit.engine.runner.protocol import Completion

_LEAST_SHARED_PART: Final = 0.1
"""Part of a prompt that a slot must share to be taken for it (llama-server's figure)."""


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


@dataclass(slots=True, kw_only=True, eq=False)
class Sequence:
    """One completion, from the queue to its last token."""

    request: Completion
    tokens: list[int]
    """The prompt, then what was generated."""
    prompt_tokens: int
    detokenizer: Detokenizer
    stops: StopScanner
    stop_tokens: dict[int, str]
    """Control tokens that are stop strings: they have no text in which to find them."""
    guide: Guide | None = None
    """What holds it to a grammar, if anything does."""
    sampler: Sampler | None = None
    slot: Slot | None = None
    cached_tokens: int = 0
    started_ns: int = 0
    """When its prompt was first worked on; 0: not yet."""
    prompt_ended_ns: int = 0
    chunk: int = 0
    """Tokens of it in the step at hand."""
    output_index: int = -1
    """Where in the batch its next token comes out; -1: not in this step."""
    repeats: int = 0
    """How many times in a row the last token came."""

    @property
    def id(self) -> int:
        """The request's id."""
        return self.request.id

    @property
    def generated_tokens(self) -> int:
        """Tokens sampled so far."""
        return len(self.tokens) - self.prompt_tokens


def common_prefix(first: ReadableSequence[int], second: ReadableSequence[int]) -> int:
    """Length of the beginning that both share."""
    limit = min(len(first), len(second))
    block, start = 256, 0
    while start + block <= limit and first[start : start + block] == second[start : start + block]:
        start += block
    while start < limit and first[start] == second[start]:
        start += 1
    return start


class SlotPool:
    """Gives slots to requests, and keeps what they leave as long as there is room."""

    def __init__(self, context: Context, *, window_tokens: int, capacity_tokens: int) -> None:
        self._context = context
        self._window_tokens = window_tokens
        self._capacity_tokens = capacity_tokens
        self._slots = [Slot(index=index) for index in range(context.options.sequences)]

    @property
    def has_free_slot(self) -> bool:
        """A request can be given a slot."""
        return any(slot.is_free for slot in self._slots)

    @property
    def held_tokens(self) -> int:
        """Tokens in the pool, of running and of ended requests."""
        return sum(slot.length for slot in self._slots)

    def acquire(self, tokens: list[int]) -> Slot:
        """A free slot for these tokens; its `length` says how many of them it holds already.

        The slot that shares the longest beginning, or else the one unused for the longest time.
        At least one token is left to compute, for there must be an output.
        """
        free = [slot for slot in self._slots if slot.is_free]
        shared = {slot.index: common_prefix(slot.tokens[: slot.length], tokens) for slot in free}
        slot = max(free, key=lambda slot: shared[slot.index])
        if shared[slot.index] < _LEAST_SHARED_PART * len(tokens):
            slot = min(free, key=lambda slot: (slot.length > 0, slot.last_used))
        self._keep(slot, min(shared[slot.index], len(tokens) - 1))
        slot.tokens, slot.is_free = tokens, False
        return slot

    def release(self, slot: Slot, step: int) -> None:
        """Takes a slot back; its tokens stay in the pool for now."""
        slot.is_free, slot.last_used = True, step

    def make_room(self, tokens: int) -> bool:
        """Forgets ended requests, the oldest first, until the pool has room; False: it has not."""
        while self.held_tokens + tokens > self._capacity_tokens:
            if not self.forget_oldest():
                return False
        return True

    def forget_oldest(self) -> bool:
        """Forgets the free slot unused for the longest time; False: all are empty."""
        idle = [slot for slot in self._slots if slot.is_free and slot.length]
        if not idle:
            return False
        self.forget(min(idle, key=lambda slot: slot.last_used))
        return True

    def forget(self, slot: Slot) -> None:
        """Empties a slot."""
        self._context.truncate(slot.index, 0)
        slot.length = 0

    def _keep(self, slot: Slot, length: int) -> None:
        """Cuts a slot down to its first `length` tokens, or to none where that cannot be.

        A sliding window keeps only the last tokens: those before the cut must still be there.
        A recurrent state cannot go back at all, but may go on from where it is.
        """
        if length and self._window_tokens:
            first_needed = max(0, length - self._window_tokens + 1)
            if self._context.first_position(slot.index) > first_needed:
                length = 0
        if length == slot.length:
            return
        if length and self._context.truncate(slot.index, length):
            slot.length = length
        else:
            self.forget(slot)
