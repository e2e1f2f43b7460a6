"""What is guessed of the answers that are being written, before each step.

From the text itself where it repeats, and else by a draft model or the model's own head, where
there is one and it pays. However tokens were guessed, they are checked alike: the model's own
samplers choose behind each of them, and the first that they choose otherwise ends the draft. So the
answer is what it would have been, greedy or drawn.
"""

from typing import Final

from olmkit.engine.runner.bindings import Context
from olmkit.engine.runner.decoding.sequences import Sequence
from olmkit.engine.runner.speculation.drafter import Computed, Drafter, TextKey, Wanted
from olmkit.engine.runner.speculation.draftpace import DraftPace

_MOST_DRAFTING: Final = 4
"""Requests beside each other from which on nothing is guessed: a step is full without."""


class Drafting:
    """The guesses of one loaded model."""

    def __init__(self, *, spare_outputs: int, drafter: Drafter | None) -> None:
        """`spare_outputs`: tokens of a step that may be guessed; `drafter` None: there is none."""
        self._spare_outputs = spare_outputs
        self._drafter = drafter
        self._pace = DraftPace()
        self._requests = 0
        """Requests that generate in the step at hand, where it may tell what drafts cost."""
        self._is_drafted = False

    def guess(self, running: list[Sequence], *, room_tokens: int, threads: int | None) -> None:
        """Gives each sequence that generates its draft for this step.

        `room_tokens`: what the pool has room for beside what is asked of it without drafts;
        `threads`: what the drafter may use, None: as many as before.
        """
        for sequence in running:
            sequence.draft = []
        self._requests, self._is_drafted = 0, False
        ready = [
            one
            for one in running
            if one.generated_tokens and one.leader is None and one.missing_tokens == 1
        ]
        if len(ready) == len(running):
            self._requests = len(running)
        if len(running) > _MOST_DRAFTING:
            return
        if self._drafter is not None:
            if threads is not None:
                self._drafter.use_threads(threads)
            if self._drafter.read_ahead(_lengths(running)):
                self._requests = 0
        if not ready:
            return
        left = min(self._spare_outputs, room_tokens)
        for sequence in ready:
            most = min(_room(sequence), left)
            if sequence.lookup is not None and most > 0:
                sequence.draft = sequence.lookup.draft(sequence.tokens, most)
                left -= len(sequence.draft)
        if any(one.draft for one in ready):
            self._requests = 0  # what these tell is nothing of the drafter
        elif self._drafter is not None and self._pace.pays(len(ready)):
            self._ask(self._drafter, ready, left)

    def follow(self, target: Context, computed: list[Sequence]) -> None:
        """Shows the drafter what a step in the model's context has computed of these."""
        if self._drafter is None or len(computed) > _MOST_DRAFTING:
            return
        parts = {}
        for one in computed:
            if one.lookup is not None and one.slot is not None and one.chunk:
                start = one.slot.length
                end = start + one.chunk - len(one.draft)
                parts[one.slot.index] = Computed(
                    key=_key(one),
                    text=one.tokens,
                    start=start,
                    tokens=one.tokens[start:end] + one.draft,
                    index=one.batch_index,
                )
        self._drafter.follow(target, parts)

    def _ask(self, drafter: Drafter, ready: list[Sequence], left: int) -> None:
        wanted = {}
        for sequence in ready:
            most = min(_room(sequence), left // len(ready), sequence.depth.tokens)
            if sequence.lookup is not None and sequence.slot is not None and most > 0:
                wanted[sequence.slot.index] = Wanted(
                    key=_key(sequence), tokens=sequence.tokens, most=most
                )
        if not wanted or not drafter.has_room(wanted):
            return
        drafts, tells_cost = drafter.draft(wanted)
        for sequence in ready:
            if sequence.slot is not None:
                sequence.draft = drafts.get(sequence.slot.index, [])
                sequence.is_drafters = bool(sequence.draft)
        self._is_drafted = True
        if not tells_cost:
            self._requests = 0

    def record(self, sequence: Sequence, accepted: int) -> None:
        """Tells how many tokens of a sequence's draft were right."""
        drafted = len(sequence.draft)
        if sequence.is_drafters:
            sequence.depth.record(drafted, accepted)
        elif sequence.lookup is not None:
            sequence.lookup.record(drafted, accepted)
        sequence.is_drafters = False

    def record_step(self, elapsed_ns: int, tokens: int) -> None:
        """Tells what the step took since before `guess`, and how many tokens it gave."""
        if self._drafter is not None and self._requests and tokens:
            self._pace.record(self._requests, elapsed_ns, tokens, drafted=self._is_drafted)


def _room(sequence: Sequence) -> int:
    """Tokens that may be guessed, as far as the request itself has room for them."""
    wanted = sequence.request.draft_tokens
    most = min(
        sequence.most_tokens - sequence.generated_tokens - 1,
        sequence.limit_tokens - len(sequence.tokens) - 1,
    )
    return most if wanted < 0 else min(most, wanted)


def _key(sequence: Sequence) -> TextKey:
    return sequence.id, sequence.shifted_tokens


def _lengths(sequences: list[Sequence]) -> dict[int, int]:
    return {one.slot.index: one.slot.length for one in sequences if one.slot is not None}
