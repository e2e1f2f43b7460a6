"""The likeliest tokens of a step, found without putting the whole vocabulary in order.

A chain that begins with top-k looks at k tokens in the end, but llama.cpp first copies all of them
into rows of 12 bytes, a megabyte and a half for 128k tokens, and then goes over those. Here the
logits are cut into blocks, and the k-th highest of the blocks' highest is a bound that at least k
tokens reach: so only the few blocks that reach it are looked at. The tokens, and what is drawn
from them, are the same. 262k tokens take 0.07 ms instead of 0.5.

All outputs of a step are looked at together: an array operation costs its fixed price and its wait
for Python's lock once then, not once a request. numpy is imported by the first shortlist: a runner
starts without it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from olmkit.engine.runner.bindings.context import Context
from olmkit.engine.runner.bindings.sampler import Candidates, Sampler

_MOST_TOKENS: Final = 512
"""Longer lists save little: most blocks would have to be looked at."""
_BLOCKS: Final = 2048
_FLOAT_BYTES: Final = 4
_MOST_SPREAD: Final = 2
"""Outputs from the first to the last one that is wanted, for each of those that are."""

Spread = Callable[[Callable[[slice], None], Sequence[slice]], Iterable[None]]
"""Runs a function on each of several parts, as `map` does, or threads."""


class Shortlist:
    """Room for the candidates of several choices, as arrays over memory of the samplers."""

    def __init__(self, vocabulary_tokens: int) -> None:
        self._size = vocabulary_tokens
        self._block_tokens = vocabulary_tokens // _BLOCKS
        self._candidates: Candidates | None = None
        self._table: Any = None

    def can_serve(self, sampler: Sampler) -> bool:
        """Whether the chain looks at few enough tokens."""
        return self._block_tokens > 0 and 0 < sampler.looked_at_tokens <= _MOST_TOKENS

    def choose(self, sampler: Sampler, context: Context, index: int) -> int | None:
        """A token from the output at a batch index, without accepting it.

        None where the chain looks at too many tokens, or the logits are no numbers.
        """
        return self.choose_each([(sampler, index)], context)[0] if self.can_serve(sampler) else None

    def choose_each(
        self,
        wanted: Sequence[tuple[Sampler, int]],
        context: Context,
        *,
        parts: int = 1,
        spread: Spread = map,
    ) -> list[int | None]:
        """As `choose`, for several outputs of one step whose samplers it `can_serve`.

        The pass over all logits is cut into `parts`, which `spread` may run side by side.
        """
        import numpy as np

        size, tokens = self._size, self._block_tokens
        addresses = [context.logits_address(index) for _, index in wanted]
        first = min(addresses)
        rows = [(address - first) // (_FLOAT_BYTES * size) for address in addresses]
        count = max(rows) + 1
        if count > _MOST_SPREAD * len(rows):
            return [None] * len(rows)
        logits = np.frombuffer(context.logits_from(first, count), np.float32).reshape(count, size)
        whole = tokens * _BLOCKS
        blocks = logits[:, :whole].reshape(count, tokens, _BLOCKS)  # a column is a block
        highest = np.empty((count, _BLOCKS), np.float32)

        def reduce(part: slice) -> None:
            np.maximum.reduce(blocks[part], axis=1, out=highest[part])

        length = -(-count // parts)
        list(spread(reduce, [slice(start, start + length) for start in range(0, count, length)]))
        place = _BLOCKS - max(sampler.looked_at_tokens for sampler, _ in wanted)
        bounds = np.partition(highest, place, axis=1)[:, place]
        row, column = np.nonzero(highest >= bounds[:, None])
        looked_at = blocks[row, :, column]
        line, level = np.nonzero(looked_at >= bounds[row, None])
        rest_row, rest = np.nonzero(logits[:, whole:] >= bounds[:, None])
        found_row = np.concatenate((row[line], rest_row))
        order = np.argsort(found_row, kind="stable")
        table = self._room(len(order))
        table["id"] = np.concatenate((level * _BLOCKS + column[line], rest + whole))[order]
        table["logit"] = np.concatenate((looked_at[line, level], logits[rest_row, rest + whole]))[
            order
        ]
        counts = np.bincount(found_row, minlength=count)
        starts = np.cumsum(counts) - counts
        return [
            self._chosen(sampler, int(starts[at]), int(counts[at]))
            for (sampler, _), at in zip(wanted, rows, strict=True)
        ]

    def _chosen(self, sampler: Sampler, start: int, count: int) -> int | None:
        """A token of some rows of the table; None where NaN hides some of them."""
        if count < sampler.looked_at_tokens:
            return None
        assert self._candidates is not None
        return sampler.choose(self._candidates, count, start=start)

    def _room(self, count: int) -> Any:
        """A table of so many rows."""
        if self._candidates is None or self._candidates.capacity < count:
            self._candidates = Candidates(2 * count)
            self._table = self._candidates.table()
        return self._table[:count]
