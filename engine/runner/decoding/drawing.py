"""The next tokens of several requests, drawn at once.

A chain of samplers goes over the whole vocabulary: about a millisecond for 128k tokens. Where a
graphics card decodes, the processor's cores have nothing else to do. Chains that look at few tokens
in the end get those from one pass over the logits of all requests, which threads share; each other
chain draws in a thread, in native code without Python's lock. All draw what they would have drawn
alone. Where the processor decodes, its cores are taken.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from olmkit.engine.runner.bindings import Context, Shortlist
from olmkit.engine.runner.decoding.sequences import Sequence

MOST_THREADS: Final = 15
_PART_REQUESTS: Final = 4
"""Requests whose logits a thread passes over: it takes as long as to wake one."""
LEAST_REQUESTS: Final = 3
"""Fewer whole chains go faster one after the other than threads are woken."""


class DrawingPool:
    """Threads that draw."""

    def __init__(self, threads: int, vocabulary_tokens: int) -> None:
        self._shortlist = Shortlist(vocabulary_tokens)
        self._threads = min(threads, MOST_THREADS)
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="draw")

    def draw(self, context: Context, running: Iterable[Sequence]) -> dict[int, int]:
        """Tokens by the request's id, of those whose step has one plain output.

        A draft and a grammar want to see each token before the next, so those are left out; all
        are where there are too few.
        """
        plain = [
            one
            for one in running
            if one.chunk
            and one.output_index >= 0
            and not one.draft
            and one.guide is None
            and one.request.max_tokens != 0
        ]
        if not plain:
            return {}
        context.logits(plain[0].output_index)  # waits for the step, which threads must not do
        listed = self._listed(context, plain)
        others = [one for one in plain if one.id not in listed]
        if len(others) < LEAST_REQUESTS:
            return listed
        parts = [others[start :: self._threads] for start in range(self._threads)]
        drawn = self._executor.map(
            lambda part: [(one.id, draw(context, one)) for one in part], filter(None, parts)
        )
        return listed | dict(pair for part in drawn for pair in part)

    def _listed(self, context: Context, plain: list[Sequence]) -> dict[int, int]:
        """The tokens of those whose chains look at few, as far as they can be told so."""
        few = [(one, one.sampler) for one in plain if one.sampler is not None]
        few = [(one, chain) for one, chain in few if self._shortlist.can_serve(chain)]
        if not few:
            return {}
        parts = min(self._threads, -(-len(few) // _PART_REQUESTS))
        tokens = self._shortlist.choose_each(
            [(chain, one.output_index) for one, chain in few],
            context,
            parts=parts,
            spread=self._executor.map if parts > 1 else map,
        )
        found = {}
        for (one, chain), token in zip(few, tokens, strict=True):
            if token is not None:
                chain.accept(token)
                found[one.id] = token
        return found


def draw(context: Context, sequence: Sequence) -> int:
    """The next token of one request, accepted by its samplers and its grammar.

    Raises:
        RequestFailed: no token fits the grammar.
    """
    assert sequence.sampler is not None
    if sequence.guide is None:
        return sequence.sampler.sample(context, sequence.output_index)
    return sequence.guide.sample(sequence.sampler, context, sequence.output_index)
