"""The next tokens of several requests, drawn at once.

A chain of samplers goes over the whole vocabulary: about a millisecond for 128k tokens. Where a
graphics card decodes, the processor's cores have nothing else to do, and chains of different
requests have nothing in common: each draws in a thread, in native code without Python's lock, and
draws what it would have drawn alone. Where the processor decodes, its cores are taken.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from olmkit.engine.runner.bindings import Context
from olmkit.engine.runner.decoding.sequences import Sequence

MOST_THREADS: Final = 15
LEAST_REQUESTS: Final = 3
"""Fewer draw faster one after the other than threads are woken."""


class DrawingPool:
    """Threads that draw."""

    def __init__(self, threads: int) -> None:
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
        if len(plain) < LEAST_REQUESTS:
            return {}
        context.logits(plain[0].output_index)  # waits for the step, which threads must not do
        parts = [plain[start :: self._threads] for start in range(self._threads)]
        drawn = self._executor.map(
            lambda part: [(one.id, draw(context, one)) for one in part], parts
        )
        return dict(pair for part in drawn for pair in part)


def draw(context: Context, sequence: Sequence) -> int:
    """The next token of one request, accepted by its samplers and its grammar.

    Raises:
        RequestFailed: no token fits the grammar.
    """
    assert sequence.sampler is not None
    if sequence.guide is None:
        return sequence.sampler.sample(context, sequence.output_index)
    return sequence.guide.sample(sequence.sampler, context, sequence.output_index)
