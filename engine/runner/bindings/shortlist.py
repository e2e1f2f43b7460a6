"""The likeliest tokens of a step, found without putting the whole vocabulary in order.

A chain that begins with top-k looks at k tokens in the end, but llama.cpp first copies all of them
into rows of 12 bytes, a megabyte and a half for 128k tokens, and then goes over those. Here the
logits are cut into blocks, and the k-th highest of the blocks' highest is a bound that at least k
tokens reach: so only the few blocks that reach it are looked at. The tokens, and what is drawn
from them, are the same.

It pays for one thread and large vocabularies: 262k tokens take 0.07 ms instead of 0.5. Where many
requests draw beside a card, llama.cpp's chains in threads are faster, for these array operations
wait for Python's lock. numpy is imported by the first shortlist: a runner starts without it.
"""

from typing import Any, Final

from olmkit.engine.runner.bindings.context import Context
from olmkit.engine.runner.bindings.sampler import Candidates, Sampler

_BLOCKS: Final = 2048
_MOST_TOKENS: Final = _BLOCKS // 4
"""Longer lists save little: most blocks would have to be looked at."""


class Shortlist:
    """Room for the candidates of one choice at a time, as arrays over memory of the samplers."""

    def __init__(self, vocabulary_tokens: int) -> None:
        import numpy as np

        self._rows = vocabulary_tokens // _BLOCKS
        self._candidates = Candidates(_MOST_TOKENS * max(1, self._rows) + _BLOCKS)
        fields = [("id", np.int32), ("logit", np.float32), ("probability", np.float32)]
        self._table = np.frombuffer(self._candidates.memory, dtype=fields)

    def choose(self, sampler: Sampler, context: Context, index: int) -> int | None:
        """A token from the output at a batch index, without accepting it.

        None where the chain looks at too many tokens, or the logits are no numbers.
        """
        import numpy as np

        wanted = sampler.looked_at_tokens
        if not self._rows or not 0 < wanted <= _MOST_TOKENS:
            return None
        logits = np.frombuffer(context.logits(index), dtype=np.float32)
        count = self._fill(logits, wanted)
        return sampler.choose(self._candidates, count) if count >= wanted else None

    def _fill(self, logits: Any, wanted: int) -> int:
        """Writes the candidates; how many there are, less than `wanted` where NaN hides some."""
        import numpy as np

        whole = self._rows * _BLOCKS
        blocks = logits[:whole].reshape(self._rows, _BLOCKS)  # a column is a block
        highest = blocks.max(axis=0)
        bound = np.partition(highest, _BLOCKS - wanted)[_BLOCKS - wanted]
        columns = np.flatnonzero(highest >= bound)
        looked_at = blocks[:, columns]
        rows, places = np.nonzero(looked_at >= bound)
        (rest,) = np.nonzero(logits[whole:] >= bound)
        count = len(rows)
        total = count + len(rest)
        if total > len(self._table):
            return 0
        table = self._table
        table["id"][:count] = rows * _BLOCKS + columns[places]
        table["logit"][:count] = looked_at[rows, places]
        table["id"][count:total] = rest + whole
        table["logit"][count:total] = logits[whole:][rest]
        return total
