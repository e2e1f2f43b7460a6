"""How long each way of drawing takes on this machine, for a vocabulary of this size.

Measured once, at the load, on logits that are made up. A step leaves cold caches behind, so other
memory is gone over before each time that is taken. Shortlists are searched by one thread here: more
of llama.cpp's wait for each other, which says nothing while a neighbour has a core for a moment.
"""

import random
import struct
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Final

from olmkit.engine.runner import log
from olmkit.engine.runner.bindings import (
    Candidates,
    LogLevel,
    Model,
    Sampler,
    Shortlist,
)
from olmkit.engine.runner.decoding.drawing.drawingchoice import (
    SEVERAL_REQUESTS,
    DrawingTimes,
    choose,
)
from olmkit.engine.runner.decoding.sampling import SamplerMaker
from olmkit.engine.runner.protocol import Completion, Drawing

_ROUNDS: Final = 3
"""The fastest counts; the first one also fills in pages and wakes threads."""
_OTHER_BYTES: Final = 4 << 20
"""More than what a core has of second level cache."""
_FLOAT_BYTES: Final = 4
_LOOKED_BACK_TOKENS: Final = 64
_MADE_UP: Final = 1 << 14
_MANTISSA: Final = struct.pack("=I", 0x007FFFFF)
_ONE: Final = struct.pack("=f", 1.0)


def fastest_drawing(model: Model, *, threads: int) -> Drawing:
    """The ways of drawing that are the fastest here, with so many threads at the most."""
    times = measure(model, threads=threads)
    log.write(LogLevel.INFO, f"drawing takes, in microseconds: {times.text}")
    return choose(times)


def measure(model: Model, *, threads: int, rounds: int = _ROUNDS) -> DrawingTimes:
    """The times of all ways that are possible with so many threads."""
    count = min(threads, SEVERAL_REQUESTS)
    trial = _Trial(model, rounds=rounds)
    try:
        if count < 2:
            return trial.times(None, 1)
        with ThreadPoolExecutor(count) as executor:
            return trial.times(executor, count)
    finally:
        trial.close()


class _Trial:
    """The ways of drawing, each with logits like a model's and the default sampling."""

    def __init__(self, model: Model, *, rounds: int) -> None:
        self._size = model.vocabulary_tokens
        self._rounds = rounds
        self._shortlist = Shortlist(self._size)
        maker, request = SamplerMaker(model), Completion(id=0, prompt="")
        self._chains = [
            maker.sampler(request, [], _LOOKED_BACK_TOKENS) for _ in range(SEVERAL_REQUESTS)
        ]
        self._other_memory = b"\1" * _OTHER_BYTES
        self._outputs = _MadeUpOutputs(self._size)
        self._all = Candidates(self._size)
        self._outputs.fill(self._all)

    def close(self) -> None:
        """Frees the chains."""
        self._shortlist.close()
        for chain in self._chains:
            chain.close()

    def times(self, executor: Executor | None, threads: int) -> DrawingTimes:
        """What is measured, with so many threads of an executor."""
        rooms = [Candidates(self._size) for _ in range(threads)]
        parts = [(rooms[start], self._chains[start::threads]) for start in range(threads)]
        chain_ns = self._fastest_ns(lambda: self._draw_all((rooms[0], self._chains[:1])))
        threads_ns = shortlist_ns = several_shortlist_ns = None
        if executor is not None:
            threads_ns = self._fastest_ns(lambda: list(executor.map(self._draw_all, parts)))
        if self._shortlist.can_serve(self._chains[0]):
            shortlist_ns = self._fastest_ns(lambda: self._draw_listed(1))
            several_shortlist_ns = self._fastest_ns(lambda: self._draw_listed(SEVERAL_REQUESTS))
        return DrawingTimes(
            chain_ns=chain_ns,
            shortlist_ns=shortlist_ns,
            several_shortlist_ns=several_shortlist_ns,
            several_threads_ns=threads_ns,
        )

    def _draw_all(self, part: tuple[Candidates, Sequence[Sampler]]) -> None:
        """Chains over the whole vocabulary, of which llama.cpp writes all rows for each.

        It writes them number by number, which takes twice as long as to copy them.
        """
        room, chains = part
        for chain in chains:
            room.copy(self._all)
            room.copy(self._all)
            chain.choose(room, self._size)

    def _draw_listed(self, requests: int) -> None:
        wanted = [(chain, index) for index, chain in enumerate(self._chains[:requests])]
        self._shortlist.choose_each(wanted, self._outputs)

    def _fastest_ns(self, draw: Callable[[], object]) -> int:
        found = []
        for _ in range(self._rounds):
            self._other_memory.find(0)
            began_ns = time.perf_counter_ns()
            draw()
            found.append(time.perf_counter_ns() - began_ns)
        return min(found)


class _MadeUpOutputs:
    """As many outputs as are timed.

    How their logits are spread does not matter to the time of a search, only that they are in no
    order, and that a higher one is ever less likely: so some thousand of them are repeated.
    """

    def __init__(self, vocabulary_tokens: int) -> None:
        self._size = vocabulary_tokens
        words = int.from_bytes(random.Random(0).randbytes(_FLOAT_BYTES * _MADE_UP), sys.byteorder)
        mantissas = int.from_bytes(_MANTISSA * _MADE_UP, sys.byteorder)
        ones = int.from_bytes(_ONE * _MADE_UP, sys.byteorder)
        from_1_to_2 = (words & mantissas | ones).to_bytes(_FLOAT_BYTES * _MADE_UP, sys.byteorder)
        times = SEVERAL_REQUESTS * vocabulary_tokens // _MADE_UP + 1
        self._numbers = array("f", from_1_to_2) * times

    def fill(self, candidates: Candidates) -> None:
        """Writes the logits of an output; which tokens they are of does not matter either."""
        candidates.write(array("i", bytes(_FLOAT_BYTES * self._size)), self._numbers[: self._size])

    def logits_address(self, index: int) -> int:
        """Where the logits of an output lie; those of all outputs lie one after the other."""
        return self._numbers.buffer_info()[0] + index * self._size * _FLOAT_BYTES
