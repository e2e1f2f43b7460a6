"""What became of each question of a suite, and the whole as one JSON object."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from olmkit.cli.exits import exit_code
from olmkit.cli.oneshot.oneanswer import OneAnswer
from olmkit.cli.testing.suitefile import Case


class Outcome(StrEnum):
    """How a question went."""

    PASSED = "passed"
    FAILED = "failed"
    """There is an answer, and it is not what was expected."""
    ERROR = "error"
    """There is none, for something was not there or broke."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One question, put to one model."""

    model: str
    case: Case
    outcome: Outcome
    failures: tuple[str, ...] = ()
    """Of the last attempt."""
    error: Exception | None = None
    answer: OneAnswer | None = None
    attempts: int = 1

    @property
    def reasons(self) -> tuple[str, ...]:
        """A sentence each why it did not pass."""
        return self.failures if self.error is None else (str(self.error),)

    @property
    def total_s(self) -> float:
        """What the last attempt took, by the daemon's account, load included."""
        return 0.0 if self.answer is None else self.answer.timings.total_ns / 1e9

    @property
    def tokens(self) -> int:
        """Of the answer."""
        return 0 if self.answer is None else self.answer.timings.completion_tokens

    def as_json(self) -> dict[str, Any]:
        """An entry of `trials`; see docs/testing.md."""
        return {
            "model": self.model,
            "case": self.case.name,
            "line": self.case.line,
            "outcome": str(self.outcome),
            "failures": list(self.failures),
            "error": None if self.error is None else str(self.error),
            "exit_status": None if self.error is None else int(exit_code(self.error)),
            "attempts": self.attempts,
            "answer": None if self.answer is None else self.answer.as_json(),
        }


def counts(results: Iterable[Result]) -> dict[Outcome, int]:
    """How many of each outcome."""
    found = dict.fromkeys(Outcome, 0)
    for result in results:
        found[result.outcome] += 1
    return found


def summary(results: list[Result]) -> str:
    """`11 passed, 1 failed`, and how many passed by a retry only."""
    said = [
        f"{count} {'errors' if outcome is Outcome.ERROR and count > 1 else outcome}"
        for outcome, count in counts(results).items()
        if count or outcome is Outcome.PASSED
    ]
    retried = sum(r.outcome is Outcome.PASSED and r.attempts > 1 for r in results)
    return ", ".join(said) + (f" ({retried} by a retry)" if retried else "")


def as_json(suite: str, results: list[Result]) -> dict[str, Any]:
    """The object of `olm test --json`."""
    return {
        "suite": suite,
        **{str(outcome): count for outcome, count in counts(results).items()},
        "trials": [result.as_json() for result in results],
    }
