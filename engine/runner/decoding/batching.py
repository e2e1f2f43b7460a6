"""What goes into one decode step: a token of each request that generates, and chunks of prompts in
what is left of the batch.

A step lasts as long as its whole batch, so a long chunk of one prompt stops everyone else's
text. The pace of prompts is measured, and chunks beside others kept to a step of about
`STEP_TARGET_NS`. Where more prompts wait than requests generate, more people wait for long steps
than for short ones, for a token costs less in a long one: so a step may last as many times longer.
A prompt alone always gets the whole batch: its chunks, and so the last bits of its logits, do not
depend on timing then.
"""

from collections import deque
from typing import Final

from olmkit.engine.runner.bindings import Batch, Context
from olmkit.engine.runner.decoding.sequences import Sequence
from olmkit.engine.runner.promptcache.parked import LEAST_TOKENS, Reach
from olmkit.engine.runner.promptcache.slots import Slot, SlotPool

STEP_TARGET_NS: Final = 500_000_000
LONGEST_STEP_NS: Final = 1_000_000_000
"""However many prompts wait."""
LEAST_CHUNK_TOKENS: Final = 65
"""Length that a chunk may always have. On a processor, flash attention goes over 64 tokens of a
sequence at once; fewer it takes one by one, which takes up to four times as long. One more is
computed with the tokens of the other streams.

Source: llama.cpp, ggml/src/ggml-cpu/common.h, ggml_fa_tile_config.
"""
_LONG_TOKENS: Final = 256
"""A step of so many tokens counts whole."""
_WEIGHT: Final = 0.3
_FILLER: Final = 0
"""The token of slots that are computed in vain; which one does not matter."""


class PromptPace:
    """Nanoseconds a prompt token takes, as a moving average.

    Long steps count more than short ones, in which a token costs up to three times as much: where
    those counted alike, chunks would become shorter and dearer by turns.
    """

    def __init__(self) -> None:
        self._token_ns: float | None = None

    def record(self, prompt_tokens: int, elapsed_ns: int, *, others: int = 0) -> None:
        """Records a step with this many prompt tokens and `others`; short ones tell nothing."""
        if prompt_tokens < LEAST_CHUNK_TOKENS:
            return
        tokens = prompt_tokens + others
        token_ns, known = elapsed_ns / tokens, self._token_ns
        weight = 1.0 if known is None else _WEIGHT * min(1.0, tokens / _LONG_TOKENS) ** 2
        self._token_ns = weight * token_ns + (1 - weight) * (known or 0.0)

    def expected_ns(self, tokens: int) -> float | None:
        """How long so many tokens would take; None before any were measured."""
        return None if self._token_ns is None else tokens * self._token_ns

    def limit_tokens(self, batch_tokens: int, *, waiting: int = 1, generating: int = 1) -> int:
        """Prompt tokens for a step in which so many prompts wait and so many requests generate, at
        least one of each; at most the batch.
        """
        if self._token_ns is None:
            return min(batch_tokens, LEAST_CHUNK_TOKENS)
        step_ns = min(STEP_TARGET_NS * max(1, waiting / generating), LONGEST_STEP_NS)
        limit = int(step_ns / self._token_ns) - generating
        return min(batch_tokens, max(LEAST_CHUNK_TOKENS, limit))


class Batcher:
    """Puts the steps of one context together."""

    def __init__(self, context: Context, slots: SlotPool, reach: Reach, pace: PromptPace) -> None:
        self.batch = Batch(context.batch_tokens)
        """The step at hand."""
        self._slots = slots
        self._reach = reach
        self._pace = pace

    def fill(self, active: list[Sequence], *, limit_tokens: int, now_ns: int) -> int:
        """Puts a step of at most `limit_tokens` together; returns how many of them are of prompts.

        `now_ns`: when the work on prompts that are new begins.
        """
        left = limit_tokens
        generating = 0
        prompts = []
        chunks: list[tuple[Slot, Sequence, int]] = []
        for sequence in active:
            assert sequence.slot is not None
            sequence.started_ns = sequence.started_ns or now_ns
            if sequence.leader is not None and self._waits_for(sequence, sequence.leader):
                continue
            if len(sequence.tokens) - _held(sequence) > 1:
                prompts.append(sequence)
            elif left:
                generating += sequence.generated_tokens > 0
                chunks.append((sequence.slot, sequence, 1))
                left -= 1 + len(sequence.draft)
        if generating and prompts:
            waiting = len(prompts)
            limit = self._pace.limit_tokens(limit_tokens, waiting=waiting, generating=generating)
            left = min(left, limit)
        prompt_tokens = 0
        for sequence in sorted(prompts, key=lambda one: one.request.is_batch):
            missing = len(sequence.tokens) - _held(sequence)
            most = sequence.request.batch_tokens or missing
            chunk = min(left - prompt_tokens, most, missing - self.ends_apart(sequence))
            if chunk > 0:
                assert sequence.slot is not None
                chunks.append((sequence.slot, sequence, chunk))
                prompt_tokens += chunk
        self._put(chunks)
        return prompt_tokens

    def _put(self, chunks: list[tuple[Slot, Sequence, int]]) -> None:
        """Puts these parts of requests into the batch, in the order of slots, and what the slots
        between them need, as far as there is room.
        """
        self.batch.clear()
        chunks.sort(key=lambda one: one[0].index)
        spare = self.batch.capacity - sum(chunk + len(one.draft) for _, one, chunk in chunks)
        fillers = deque(self._slots.fillers([slot.index for slot, _, _ in chunks])[:spare])
        for slot, sequence, chunk in chunks:
            while fillers and fillers[0].index < slot.index:
                filler = fillers.popleft()
                position, number = filler.length, filler.index
                self.batch.add([_FILLER], position=position, sequence=number, outputs=0)
            self._add(sequence, chunk)

    def _waits_for(self, sequence: Sequence, leader: Sequence) -> bool:
        """Whether the prefix is still being computed; takes it over once it is there."""
        if _held(leader) < sequence.common_tokens:
            return True
        self.take_over(sequence, leader)
        return False

    def take_over(self, sequence: Sequence, leader: Sequence) -> None:
        """Lets a request that waits for another's prefix have what there is of it."""
        sequence.leader = None
        source, target = leader.slot, sequence.slot
        assert source is not None and target is not None
        length = min(source.length, sequence.common_tokens)
        if length > target.length and self._slots.can_share(source, length):
            self._slots.share(source, target, length)
            if not sequence.generated_tokens:
                sequence.cached_tokens = length

    def ends_apart(self, sequence: Sequence) -> bool:
        """The last token of the prompt gets a step of its own, before which the state is copied:
        the same prompt can go on from there, where the state after it could not go back.
        """
        least = max(LEAST_TOKENS, self._reach.window_tokens)
        return (
            not self._reach.is_full
            and not sequence.generated_tokens
            and (sequence.prompt_tokens > least)
        )

    def _add(self, sequence: Sequence, chunk: int) -> None:
        assert sequence.slot is not None
        start = sequence.slot.length
        is_last = start + chunk == len(sequence.tokens)
        if not is_last:  # a draft goes behind the last token, and nowhere else
            sequence.draft = []
        tokens = sequence.tokens[start : start + chunk] + sequence.draft
        outputs = 1 + len(sequence.draft) if is_last else 0
        index = self.batch.add(
            tokens, position=start, sequence=sequence.slot.index, outputs=outputs
        )
        sequence.chunk, sequence.batch_index = len(tokens), index + 1 - len(tokens)
        sequence.output_index = index + 1 - outputs if is_last else -1


def _held(sequence: Sequence) -> int:
    return sequence.slot.length if sequence.slot else 0
