"""Room in the KV pool: what running requests take of it, and who waits until there is some."""

import time
from collections.abc import Collection
from typing import Final

from olmkit.engine.runner.decoding.sequences import Sequence
from olmkit.engine.runner.promptcache.slots import SlotPool

_GROWTH_TOKENS: Final = 32
"""Room for each running request that must be left when another one is let in."""


class PoolRoom:
    """The room of one pool, which all requests share."""

    def __init__(self, slots: SlotPool, *, pool_tokens: int) -> None:
        self._slots = slots
        self._pool_tokens = pool_tokens

    def left_tokens(self, running: Collection[Sequence]) -> int:
        """What the running requests neither have nor are about to take; negative: they must not."""
        missing = sum(sequence.missing_tokens for sequence in running)
        return self._pool_tokens - self._slots.busy_tokens - missing

    def admits(self, sequence: Sequence, running: Collection[Sequence], *, common: int) -> bool:
        """Whether a request may run beside the others, with which it has `common` tokens.

        All of them must have room for some tokens more, as far as their own contexts have.
        """
        if not running:
            return True
        growth = sum(
            max(0, min(_GROWTH_TOKENS, one.limit_tokens - len(one.tokens)))
            for one in (*running, sequence)
        )
        return len(sequence.tokens) - common + growth <= self.left_tokens(running)


def begin_wait(waiting: Collection[Sequence]) -> None:
    """These requests wait for room from now on, if they do not already."""
    now_ns = time.monotonic_ns()
    for sequence in waiting:
        sequence.short_since_ns = sequence.short_since_ns or now_ns


def end_wait(sequence: Sequence) -> None:
    """The request does not wait for room any more."""
    if sequence.short_since_ns:
        sequence.room_wait_ns += time.monotonic_ns() - sequence.short_since_ns
        sequence.short_since_ns = 0
