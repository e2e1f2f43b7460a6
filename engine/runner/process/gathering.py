"""Pieces of answers that leave together.

A frame a token wakes the daemon and every client at each of them, on cores that llama.cpp computes
on: for a small model that is a tenth of each token's time. Eyes do not tell tokens apart that come
within a twentieth of a second, so what is said in that time leaves as one frame. Each piece is
still a reply of its own, the first one of an answer leaves at once, and so does whatever is no
piece.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from olmkit.engine.runner.protocol import Piece, Reply

PAUSE_NS: Final = 50_000_000


class GatheredPieces:
    """Replies that wait for others to leave with."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._held: list[Reply] = []
        self._sent_ns = 0

    def add(self, replies: Sequence[Reply], *, goes_on: bool) -> list[Reply]:
        """Takes the replies of a step; returns what is to be sent now.

        `goes_on`: another step follows at once, after which the same will be asked again.
        """
        self._held += replies
        may_wait = goes_on and all(type(reply) is Piece for reply in replies)
        if may_wait and self._clock_ns() - self._sent_ns < PAUSE_NS:
            return []
        return self.take()

    def take(self) -> list[Reply]:
        """All that waits, to be sent now."""
        if self._held:
            self._sent_ns = self._clock_ns()
        held, self._held = self._held, []
        return held
