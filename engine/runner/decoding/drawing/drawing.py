"""The next tokens of several requests, drawn in the ways that are the fastest here.

A chain of samplers goes over the whole vocabulary: two thirds of a millisecond for 262k tokens.
Chains that look at few tokens in the end may get those from one search in the logits of all
requests, and others may draw in threads, in native code without Python's lock. All draw what they
would have drawn alone, one after the other.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from olmkit.engine.runner.bindings import Context, Shortlist
from olmkit.engine.runner.decoding.sequences import Sequence
from olmkit.engine.runner.protocol import Drawing

MOST_THREADS: Final = 15
_PART_REQUESTS: Final = 4
"""Requests whose logits a thread searches: it takes as long as to wake one."""


class DrawingPool:
    """Draws, behind each step, for all requests of it that can be drawn for together."""

    def __init__(self, vocabulary_tokens: int, ways: Drawing | None, *, threads: int) -> None:
        """`ways` None: all draw one after the other. `threads`: how many may draw side by side."""
        self._ways = ways = ways or Drawing()
        self._shortlist = Shortlist(vocabulary_tokens)
        self._threads = min(threads, MOST_THREADS) if ways.threads_from is not None else 1
        self._executor = (
            ThreadPoolExecutor(self._threads, thread_name_prefix="draw")
            if self._threads > 1
            else None
        )
        self._picked: dict[int, int] = {}
        """Tokens by the request's id, of which its samplers and its grammar know nothing yet."""
        self._drawn: dict[int, int] = {}
        """Tokens that the samplers accepted."""

    def draw(self, context: Context, running: Iterable[Sequence]) -> None:
        """Draws for those whose step has one output, as far as that is faster than alone.

        A draft wants to see each token before the next, and so does a grammar, whose first choice
        is free all the same.
        """
        self._picked, self._drawn = {}, {}
        if self._ways.shortlist_from is None and self._executor is None:
            return
        single = [
            one
            for one in running
            if one.chunk and one.output_index >= 0 and not one.draft and one.request.max_tokens != 0
        ]
        if not single:
            return
        context.logits(single[0].output_index)  # waits for the step, which threads must not do
        self._pick(context, single)
        self._draw_in_threads(
            context,
            [one for one in single if one.guide is None and one.id not in self._picked],
        )

    def token(self, context: Context, sequence: Sequence) -> int:
        """The next token of one request, accepted by its samplers and its grammar.

        Raises:
            RequestFailed: no token fits the grammar.
        """
        sampler, index = sequence.sampler, sequence.output_index
        assert sampler is not None
        picked = self._picked.pop(sequence.id, None)
        if sequence.guide is not None:
            return sequence.guide.sample(sampler, context, index, picked=picked)
        if picked is not None:
            sampler.accept(picked)
            return picked
        drawn = self._drawn.pop(sequence.id, None)
        return sampler.sample(context, index) if drawn is None else drawn

    def _pick(self, context: Context, single: list[Sequence]) -> None:
        """Picks for those whose chains look at few tokens, as far as they can be told so."""
        few = [(one.id, one.sampler, one.output_index) for one in single if one.sampler]
        few = [one for one in few if self._shortlist.can_serve(one[1])]
        least = self._ways.shortlist_from
        if least is None or len(few) < least:
            return
        parts = min(self._threads, -(-len(few) // _PART_REQUESTS))
        parts = parts if parts > context.threads else 1
        tokens = self._shortlist.choose_each(
            [(chain, index) for _, chain, index in few],
            context,
            threads=context.threads,
            parts=parts,
            spread=self._executor.map if self._executor and parts > 1 else map,
        )
        for (request_id, _, _), token in zip(few, tokens, strict=True):
            if token is not None:
                self._picked[request_id] = token

    def _draw_in_threads(self, context: Context, others: list[Sequence]) -> None:
        least = self._ways.threads_from
        if self._executor is None or least is None or len(others) < least:
            return

        def draw_part(part: list[Sequence]) -> list[tuple[int, int]]:
            return [(one.id, self.token(context, one)) for one in part]

        parts = [others[start :: self._threads] for start in range(self._threads)]
        for drawn in self._executor.map(draw_part, filter(None, parts)):
            self._drawn |= drawn
