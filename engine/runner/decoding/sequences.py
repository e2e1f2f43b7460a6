"""One completion on its way through the runner, and what becomes of it when the context is full.

A prompt that is too long loses its middle, and so does a text that grows over the context while
it is written: the first `num_keep` tokens stay, half of the rest goes. Source: Ollama,
runner/llamarunner/runner.go (`inputs`, `ShiftDiscard`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from olmkit.engine.runner.bindings import Sampler
from olmkit.engine.runner.constraints.constraint import Guide
from olmkit.engine.runner.decoding.text.detokenizer import Detokenizer
from olmkit.engine.runner.decoding.text.settled import SettledTokens
from olmkit.engine.runner.decoding.text.stops import StopScanner
from olmkit.engine.runner.promptcache.parked import LEAST_TOKENS, common_prefix
from olmkit.engine.runner.promptcache.slots import Slot
from olmkit.engine.runner.protocol import Completed, Completion, EndReason, PromptRead
from olmkit.engine.runner.speculation.draftpace import DraftDepth
from olmkit.engine.runner.speculation.promptlookup import PromptLookup

_LONGEST_PERIOD_TOKENS: Final = 256


@dataclass(slots=True, kw_only=True, eq=False)
class Sequence:
    """One completion, from the queue to its last token."""

    request: Completion
    tokens: list[int]
    """The prompt, then what was generated; without what the context had no more room for."""
    limit_tokens: int
    """Most tokens of prompt and answer at a time."""
    most_tokens: int
    """Most tokens to generate."""
    kept_tokens: int
    """Tokens of the beginning that stay when the context is full."""
    prompt_tokens: int
    told_tokens: list[int]
    """The whole prompt, where it is to be told."""
    dropped_tokens: int
    """Of the prompt, which was too long."""
    detokenizer: Detokenizer
    stops: StopScanner
    settled: SettledTokens
    stop_tokens: dict[int, str]
    """Control tokens that are stop strings: they have no text in which to find them."""
    variant: int = 0
    """Of the model: its set of adapters, see `AdapterSets`."""
    guide: Guide | None = None
    """What holds it to a grammar, if anything does."""
    sampler: Sampler | None = None
    slot: Slot | None = None
    generated_tokens: int = 0
    """Tokens sampled so far."""
    shifted_tokens: int = 0
    """Tokens forgotten to make room for new ones."""
    cached_tokens: int = 0
    started_ns: int = 0
    """When its prompt was first worked on; 0: not yet."""
    prompt_ended_ns: int = 0
    short_since_ns: int = 0
    """Since when it waits for room in the KV pool; 0: it does not."""
    room_wait_ns: int = 0
    """How long it did before."""
    chunk: int = 0
    """Tokens of it in the step at hand."""
    batch_index: int = 0
    """Where in the batch those begin."""
    output_index: int = -1
    """Where in the batch its next token comes out; -1: not in this step."""
    repeats: int = 0
    """How many times in a row the last token came."""
    lookup: PromptLookup | None = None
    """What drafts come from, unless from a drafter; None: nothing is drafted."""
    depth: DraftDepth = field(default_factory=DraftDepth)
    """How far ahead a drafter guesses."""
    is_drafters: bool = False
    """The draft at hand is not from the text."""
    draft: list[int] = field(default_factory=list)
    """Tokens behind its last one in the step at hand that are only guessed."""
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    leader: "Sequence | None" = None
    """The request that is computing a prefix of both prompts, for which this one waits."""
    common_tokens: int = 0
    """Length of that prefix."""

    @property
    def id(self) -> int:
        """The request's id."""
        return self.request.id

    @property
    def is_going_round(self) -> bool:
        """The last half of the context says one thing over and over, three times at the least."""
        tail = self.tokens[-min(self.generated_tokens, self.limit_tokens // 2) :]
        periods = range(1, min(len(tail) // 3, _LONGEST_PERIOD_TOKENS) + 1)
        return any(tail[period:] == tail[:-period] for period in periods)

    @property
    def missing_tokens(self) -> int:
        """Tokens that are not in the pool yet, and that nobody else is about to put there."""
        held = self.slot.length if self.slot else 0
        return len(self.tokens) - max(held, self.common_tokens if self.leader else 0)

    def prompt_read(self) -> PromptRead:
        """The reply that its prompt is read."""
        return PromptRead(
            id=self.id,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            tokens=self.told_tokens,
        )

    def completed(self, reason: EndReason, stop: str | None, *, now_ns: int) -> Completed:
        """The last reply to its request."""
        started_ns = self.started_ns or now_ns
        prompt_ended_ns = self.prompt_ended_ns or now_ns
        return Completed(
            id=self.id,
            text=self.stops.flush(),
            reason=reason,
            stop_string=stop,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            dropped_tokens=self.dropped_tokens,
            shifted_tokens=self.shifted_tokens,
            drafted_tokens=self.drafted_tokens,
            accepted_tokens=self.accepted_tokens,
            prompt_ns=prompt_ended_ns - started_ns,
            completion_tokens=self.generated_tokens,
            completion_ns=now_ns - prompt_ended_ns,
            room_wait_ns=self.room_wait_ns,
        )

    def forget_half(self) -> int:
        """Forgets half of what may go, from `kept_tokens` on; returns how many tokens."""
        count = max(1, (len(self.tokens) - self.kept_tokens) // 2)
        del self.tokens[self.kept_tokens : self.kept_tokens + count]
        self.shifted_tokens += count
        self.lookup = PromptLookup() if self.lookup else None
        return count


def find_leader(running: Iterable[Sequence], tokens: list[int]) -> tuple[Sequence | None, int]:
    """The running request that has or will have most of a prompt's beginning in the pool, and how
    much of it: all but the last token at the most, for there must be an output.
    """
    best, most = None, 0
    for one in running:
        limit = min(len(one.tokens), len(tokens)) - 1
        common = min(common_prefix(one.tokens, tokens), limit)
        if common > most:
            best, most = one, common
    return (best, most) if most >= LEAST_TOKENS else (None, 0)


def without_middle(tokens: list[int], *, kept: int, limit: int) -> list[int]:
    """The first `kept` tokens, and so many of the last that half of the rest of `limit` is free."""
    last = limit - kept - max(1, (limit - kept) // 2)
    return tokens[:kept] + tokens[len(tokens) - last :] if last > 0 else tokens[:kept]
