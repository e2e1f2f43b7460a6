"""The pool's slots hand a text back only to the variant of the model that computed it."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from olmkit.engine.runner.promptcache.parked import ParkedStates, Reach
from olmkit.engine.runner.promptcache.slots import SlotPool


@dataclass
class OneSequence:
    """A context that does all that is asked of it; the real one needs a model, and its memory is
    tested with one in `tests/integration/test_runner_prefixes.py`."""

    options: Any = field(default_factory=lambda: SimpleNamespace(sequences=1))
    copies: int = 0
    """States that were copied out of it."""

    def truncate(self, sequence: int, length: int) -> bool:
        return True

    def first_position(self, sequence: int) -> int:
        return 0

    def state_bytes(self, sequence: int) -> int:
        return 10

    def sequence_state(self, sequence: int) -> bytes:
        self.copies += 1
        return bytes(10)

    def restore_sequence(self, sequence: int, state: bytes) -> bool:
        return True


def test_a_restored_state_that_is_cut_is_kept_for_the_variant_that_computed_it() -> None:
    context, reach = cast(Any, OneSequence()), Reach()
    parked = ParkedStates(context, reach, lambda _: None, 1 << 20)
    pool = SlotPool(context, reach, parked, capacity_tokens=10_000)

    def held_of(tokens: list[int], variant: int) -> int:
        slot = pool.acquire(tokens, variant)
        held, slot.length = slot.length, len(tokens)
        pool.release(slot, 1)
        return held

    long = list(range(1_000))
    assert held_of(long, 1) == 0
    assert held_of([5_000 + token for token in range(400)], 0) == 0
    assert held_of([*long[:300], *[7] * 100], 1) == 300  # most of what was restored is cut off
    assert held_of(long, 0) == 0
    assert held_of(long, 1) == 999


def test_what_is_idle_is_copied_while_nobody_waits() -> None:
    sequence, reach = OneSequence(), Reach()
    context = cast(Any, sequence)
    parked = ParkedStates(context, reach, lambda _: None, 1 << 20)
    pool = SlotPool(context, reach, parked, capacity_tokens=10_000)

    def run(first: int) -> None:
        slot = pool.acquire(list(range(first, first + 100)))
        slot.length = 100
        pool.release(slot, 1)

    run(0)
    pool.copy_ahead()
    assert sequence.copies == 0  # what a copy costs is not known yet
    run(1_000)
    assert sequence.copies == 1
    pool.copy_ahead()
    pool.copy_ahead()
    assert sequence.copies == 2
    run(2_000)
    assert sequence.copies == 2
