"""What idle sequences leave behind, kept in main memory when they leave the KV pool.

All sequences share one pool of cells, and llama.cpp's attention goes over every cell up to the
last one in use: what nobody uses makes every step slower there, and is lost when room is needed.
A copy in main memory costs a millisecond a few megabytes either way, where a processor takes a
hundred times that to compute the tokens again. A graphics card may compute them faster than it
copies cells that lie apart, so both are measured, and the cheaper is done.

Full attention: the state of a text holds that of each of its beginnings, so of two such texts
the longer one is enough. A sliding window or a recurrent state goes back only as far as it still
holds: of those models the state at the end of each prompt is kept beside that of its answer.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from olmkit.engine.runner.bindings import Context, NativeError
from olmkit.engine.runner.promptcache.stored import LEAST_TOKENS as LEAST_STORED_TOKENS
from olmkit.engine.runner.promptcache.stored import StoredState, StoredStates

LEAST_TOKENS: Final = 32
"""Shorter texts are computed again as fast."""
CHEAP_NS: Final = 5_000_000
"""A copy that takes no longer disturbs nobody."""
WORTH: Final = 10
"""How many times what a copy takes computing must take: most texts are never asked for again, and
everybody waits for the copy."""
TRIED_AGAIN_AFTER: Final = 200
"""Once copies turned out dear, one is made again after so many times what it takes: cells that lie
apart cost a graphics card a hundred milliseconds, and hundreds of idle ones may be looked at.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far back a model's state can go."""

    window_tokens: int = 0
    """Width of the sliding window; 0: every layer sees all tokens."""
    is_recurrent: bool = False

    @property
    def is_full(self) -> bool:
        """To any earlier token."""
        return not self.window_tokens and not self.is_recurrent

    def reusable(self, length: int, *, held: int, first_position: int) -> int:
        """`length` where a state of `held` tokens can be cut down to so many, else 0."""
        if self.is_recurrent and length != held:
            return 0
        first_needed = max(0, length - self.window_tokens + 1) if self.window_tokens else 0
        return length if first_position <= first_needed or not self.window_tokens else 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parked:
    """The state of one text."""

    tokens: tuple[int, ...]
    first_position: int
    """The first one that all layers still have."""
    variant: int = 0
    """Of the model, that computed it: 0 is the model as it was loaded, whose states may go to disk.
    """
    state: Any
    """Bytes, as `Context.sequence_state` gives them."""


class CopyPace:
    """What copies out of the pool cost, and whether one more is worth it."""

    def __init__(self) -> None:
        self._token_ns = 0.0
        self._recorded_ns = 0

    def record(self, tokens: int, elapsed_ns: int, *, now_ns: int) -> None:
        """Records a copy that ended now, by `time.monotonic_ns`."""
        token_ns = elapsed_ns / tokens
        self._token_ns = 0.5 * (self._token_ns + token_ns) if self._token_ns else token_ns
        self._recorded_ns = now_ns

    def is_cheap(self, tokens: int) -> bool:
        """Whether a copy takes at most CHEAP_NS; False before any was made."""
        return 0 < tokens * self._token_ns <= CHEAP_NS

    def is_worth(self, tokens: int, computing_ns: float | None, *, now_ns: int) -> bool:
        """Whether a copy is likely much cheaper than `computing_ns`, or cheap altogether.

        Now and then one is made all the same: how cells lie apart changes, and its cost with it.
        """
        copying_ns = tokens * self._token_ns
        is_cheaper = computing_ns is None or WORTH * copying_ns <= computing_ns
        if is_cheaper or copying_ns <= CHEAP_NS:
            return True
        return now_ns - self._recorded_ns >= TRIED_AGAIN_AFTER * copying_ns


class ParkedStates:
    """Up to `budget_bytes` of states; the ones unused for the longest time go first, to disk."""

    def __init__(
        self,
        context: Context,
        reach: Reach,
        computing_ns: Callable[[int], float | None],
        budget_bytes: int,
        stored: StoredStates | None = None,
    ) -> None:
        """`computing_ns`: how long so many tokens of a prompt take, None where nothing was
        measured yet. `stored`: the states on disk, None: there are none.
        """
        self._computing_ns = computing_ns
        self._copies = CopyPace()
        self._stored = stored
        self._context = context
        self._reach = reach
        self._budget_bytes = budget_bytes
        self._states: list[Parked] = []
        """The one used last at the end."""

    @property
    def size_bytes(self) -> int:
        """All that is kept here."""
        return sum(len(parked.state) for parked in self._states)

    def is_cheap(self, tokens: int) -> bool:
        """Whether a copy of so many tokens takes no time worth speaking of, going by others."""
        return self._copies.is_cheap(tokens)

    def park(self, sequence: int, tokens: Sequence[int], variant: int = 0) -> bool:
        """Keeps a copy of what the pool holds of a sequence; False: too short, or no room.

        `tokens` are those that the sequence holds, `variant` the model that computed them.
        """
        if len(tokens) < LEAST_TOKENS:
            return False
        text = tuple(tokens)
        for known in (one for one in self._states if one.variant == variant):
            if known.tokens == text or (self._reach.is_full and _begins(known.tokens, text)):
                self._touch(known)
                return True
        computing_ns, now_ns = self._computing_ns(len(tokens)), time.monotonic_ns()
        if not self._copies.is_worth(len(tokens), computing_ns, now_ns=now_ns):
            return False
        size_bytes = self._context.state_bytes(sequence)
        if size_bytes > self._budget_bytes:
            return False
        if self._reach.is_full:
            self._states = [
                one
                for one in self._states
                if one.variant != variant or not _begins(text, one.tokens)
            ]
        while self.size_bytes + size_bytes > self._budget_bytes:
            gone = self._states.pop(0)
            if self._stored is not None and not (gone.variant or self._is_stored(gone.tokens)):
                self._stored.keep(gone.tokens, gone.first_position, gone.state)
        first_position = self._context.first_position(sequence)
        started_ns = time.monotonic_ns()
        try:
            state = self._context.sequence_state(sequence)
        except (NativeError, MemoryError):
            return False
        ended_ns = time.monotonic_ns()
        self._copies.record(len(tokens), ended_ns - started_ns, now_ns=ended_ns)
        self._states.append(
            Parked(tokens=text, first_position=first_position, variant=variant, state=state)
        )
        return True

    def find(
        self, tokens: Sequence[int], variant: int = 0
    ) -> tuple[Parked | StoredState | None, int]:
        """The state that spares most of a prompt, and how many tokens of it."""
        best: Parked | StoredState | None = None
        most = 0
        own = [one for one in self._states if one.variant == variant]
        stored = self._stored.states if self._stored and not variant else ()
        for parked in (*own, *stored):
            shared = min(common_prefix(parked.tokens, tokens), len(tokens) - 1)
            length = self._reach.reusable(
                shared, held=len(parked.tokens), first_position=parked.first_position
            )
            if length > most:
                best, most = parked, length
        return best, most

    def restore(self, parked: Parked | StoredState, sequence: int) -> bool:
        """Puts a copy of a state into a sequence; False: it cannot be, the sequence is empty."""
        if isinstance(parked, Parked):
            self._touch(parked)
            return self._context.restore_sequence(sequence, parked.state)
        assert self._stored is not None
        state = self._stored.load(parked)
        return state is not None and self._context.restore_sequence(sequence, state)

    def save(self, idle: Sequence[tuple[int, Sequence[int]]], *, until_s: float) -> None:
        """Writes to disk what is not there, the last used first, until a moment of `monotonic`.

        `idle`: sequences in the pool and the tokens that they hold, the last used first.
        """
        if self._stored is None:
            return
        for sequence, tokens in idle:
            text = tuple(tokens)
            if time.monotonic() < until_s and self._is_worth_storing(text):
                first_position = self._context.first_position(sequence)
                try:
                    state = self._context.sequence_state(sequence)
                except (NativeError, MemoryError):
                    continue
                self._stored.keep_now(text, first_position, state)
        for parked in [one for one in reversed(self._states) if not one.variant]:
            if time.monotonic() < until_s and self._is_worth_storing(parked.tokens):
                self._stored.keep_now(parked.tokens, parked.first_position, parked.state)

    def _is_worth_storing(self, text: tuple[int, ...]) -> bool:
        return len(text) >= LEAST_STORED_TOKENS and not self._is_stored(text)

    def _is_stored(self, text: tuple[int, ...]) -> bool:
        """Whether the disk has this text, or one that it is the beginning of; shorter ones go."""
        assert self._stored is not None
        for known in self._stored.states:
            if known.tokens == text or (self._reach.is_full and _begins(known.tokens, text)):
                return True
            if self._reach.is_full and _begins(text, known.tokens):
                self._stored.drop(known)
        return False

    def _touch(self, parked: Parked) -> None:
        self._states.remove(parked)
        self._states.append(parked)


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the beginning that both share."""
    limit = min(len(first), len(second))
    for start in range(0, limit, 256):
        end = min(start + 256, limit)
        if list(first[start:end]) != list(second[start:end]):
            return next(place for place in range(start, end) if first[place] != second[place])
    return limit


def _begins(text: tuple[int, ...], beginning: tuple[int, ...]) -> bool:
    return len(beginning) <= len(text) and text[: len(beginning)] == beginning
