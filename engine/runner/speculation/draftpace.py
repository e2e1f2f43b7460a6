"""When a draft model's guesses are worth their time, and how many at once.

A guess costs a step of the draft model, and checking it a part of a step of the model itself: next
to nothing on a graphics card, nearly a whole one on a processor. Which it is here is measured while
requests run: steps with drafts against steps without, in nanoseconds a token, for each number of
requests beside each other. Where drafts lose they rest, and are tried again after ever longer
pauses. How far ahead one request is guessed follows from its tokens alone.

Knows neither llama.cpp nor clocks: it is told how long steps took.
Source: Leviathan and others, Fast Inference from Transformers via Speculative Decoding, 2023,
arXiv:2211.17192 (section 3.5, the number of guesses).
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

FIRST_DEPTH: Final = 4
MOST_DEPTH: Final = 16
"""Tokens of one draft."""
TRIAL_STEPS: Final = 6
"""Steps of each kind before they are compared."""
FIRST_PAUSE_STEPS: Final = 64
LAST_PAUSE_STEPS: Final = 4096
"""Without drafts, after they lost; doubles with each time that they lost again."""
RECHECK_STEPS: Final = 256
"""Steps with drafts after which those without are measured again."""
_WINDOW_STEPS: Final = 16


class DraftDepth:
    """How many tokens ahead one request is guessed: more while all are right."""

    def __init__(self) -> None:
        self.tokens = FIRST_DEPTH

    def record(self, drafted: int, accepted: int) -> None:
        """Tells how many tokens of the last draft were right."""
        if accepted == drafted:
            self.tokens = min(MOST_DEPTH, max(self.tokens, drafted + 2))
        else:
            self.tokens = max(1, accepted + 1)


@dataclass(slots=True)
class _Measured:
    """Steps of one kind: the latest, as nanoseconds and tokens."""

    steps: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_WINDOW_STEPS))

    @property
    def is_known(self) -> bool:
        return len(self.steps) >= TRIAL_STEPS

    @property
    def ns_per_token(self) -> float:
        tokens = sum(tokens for _, tokens in self.steps)
        return sum(ns for ns, _ in self.steps) / max(1, tokens)


class _Side:
    """What is known of steps with one number of requests."""

    def __init__(self) -> None:
        self.plain, self.drafted = _Measured(), _Measured()
        self.resting_steps = 0
        self.pause_steps = FIRST_PAUSE_STEPS
        self.since_plain = 0


class DraftPace:
    """Decides, step by step, whether to draft."""

    def __init__(self) -> None:
        self._sides: dict[int, _Side] = {}

    def pays(self, requests: int) -> bool:
        """Whether the next step, with so many requests that generate, is to have drafts."""
        side = self._side(requests)
        if side.resting_steps or not side.plain.is_known:
            return False
        if not side.drafted.is_known:
            return True
        if side.since_plain >= RECHECK_STEPS:
            side.plain.steps.clear()
            return False
        if side.drafted.ns_per_token < side.plain.ns_per_token:
            side.pause_steps = FIRST_PAUSE_STEPS
            return True
        side.resting_steps, side.pause_steps = (
            side.pause_steps,
            min(LAST_PAUSE_STEPS, 2 * side.pause_steps),
        )
        side.drafted.steps.clear()
        return False

    def record(self, requests: int, elapsed_ns: int, tokens: int, *, drafted: bool) -> None:
        """Takes in a step without prompts: what it took, guessing included, and what it gave."""
        side = self._side(requests)
        if drafted:
            side.drafted.steps.append((elapsed_ns, tokens))
            side.since_plain += 1
        else:
            side.plain.steps.append((elapsed_ns, tokens))
            side.resting_steps = max(0, side.resting_steps - 1)
            side.since_plain = 0

    def _side(self, requests: int) -> _Side:
        return self._sides.setdefault(requests, _Side())
