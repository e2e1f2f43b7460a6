"""The likeliest tokens of a step, found without a row for each token of the vocabulary.

A chain that begins with top-k looks at k tokens in the end, but llama.cpp first copies all of them
into rows of 12 bytes, three megabytes for 262k tokens, and then goes over those in one thread. ggml
has an operation that finds the k highest of many numbers where they lie: for the outputs of all
requests at once, by the threads of a decode step, which still wait in a loop for more
(`likeliestsearch.py`). The tokens that are drawn are the same. 262k tokens take 0.26 ms on two
cores instead of 0.69.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from olmkit.engine.runner.bindings.likeliestsearch import NUMBER_BYTES, LikeliestSearch
from olmkit.engine.runner.bindings.sampler import Sampler

_MOST_TOKENS: Final = 512
"""Longer lists save little."""
_MOST_PIECES: Final = 8
"""Of one output, each searched by a thread: every piece brings as many tokens as the whole."""
_MOST_SPREAD: Final = 2
"""Outputs from the first to the last one that is wanted, for each of those that are."""

Spread = Callable[[Callable[[int], list[int]], Sequence[int]], Iterable[list[int]]]
"""Runs a function on each of several numbers, as `map` does, or threads."""


class Outputs(Protocol):
    """Where the logits of a step lie, as `Context` tells it."""

    def logits_address(self, index: int) -> int:
        """Where the logits of an output lie; those of all outputs lie one after the other."""


class Shortlist:
    """Searches the outputs of steps of one model."""

    def __init__(self, vocabulary_tokens: int) -> None:
        self._size = vocabulary_tokens
        self._searches: list[LikeliestSearch] = []

    def close(self) -> None:
        """Frees what the searches hold."""
        for search in self._searches:
            search.close()
        self._searches.clear()

    def can_serve(self, sampler: Sampler) -> bool:
        """Whether the chain looks at few enough tokens."""
        return 0 < sampler.looked_at_tokens <= min(_MOST_TOKENS, self._size)

    def choose(
        self, sampler: Sampler, outputs: Outputs, index: int, *, threads: int = 1
    ) -> int | None:
        """A token from the output at a batch index, without accepting it.

        None where the chain looks at too many tokens.
        """
        if not self.can_serve(sampler):
            return None
        return self.choose_each([(sampler, index)], outputs, threads=threads)[0]

    def choose_each(
        self,
        wanted: Sequence[tuple[Sampler, int]],
        outputs: Outputs,
        *,
        threads: int = 1,
        parts: int = 1,
        spread: Spread = map,
    ) -> Sequence[int | None]:
        """As `choose`, for several outputs of one step whose samplers it `can_serve`.

        `threads`: llama.cpp's. With more than one part each is searched by a thread of `spread`
        instead. None for all where the outputs lie too far from each other.
        """
        row_bytes = NUMBER_BYTES * self._size
        places = [(outputs.logits_address(index), sampler) for sampler, index in wanted]
        addresses = [address for address, _ in places]
        if (max(addresses) - min(addresses)) // row_bytes + 1 > _MOST_SPREAD * len(places):
            return [None] * len(places)
        while len(self._searches) < parts:
            self._searches.append(LikeliestSearch())
        length = -(-len(places) // parts)
        shares = [places[start : start + length] for start in range(0, len(places), length)]

        def choose_share(number: int) -> list[int]:
            search = self._searches[number]
            return self._choose(shares[number], search, threads if parts == 1 else 1)

        return [token for share in spread(choose_share, range(len(shares))) for token in share]

    def _choose(
        self, places: Sequence[tuple[int, Sampler]], search: LikeliestSearch, threads: int
    ) -> list[int]:
        """A token for each of some samplers, whose outputs lie at those addresses."""
        size = self._size
        first = min(address for address, _ in places)
        rows = [(address - first) // (NUMBER_BYTES * size) for address, _ in places]
        count = max(rows) + 1
        keep = max(sampler.looked_at_tokens for _, sampler in places)
        pieces = min(threads // count, _MOST_PIECES)
        while pieces > 1 and (size % pieces or size // pieces < keep):
            pieces -= 1
        pieces = max(pieces, 1)
        candidates = search.highest(first, size, count, pieces, keep, threads)
        listed = pieces * keep
        return [
            sampler.choose(candidates, listed, start=row * listed)
            for row, (_, sampler) in zip(rows, places, strict=True)
        ]
