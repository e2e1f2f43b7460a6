"""The bounds that an untrusted template is parsed and run under, and their running counters."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass

from olmkit.modelfile.gotemplate.templateerrors import TemplateLimitExceeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one template; the defaults are far above what any published model's one needs.

    source_chars: length of the text. nesting: blocks within blocks, and parentheses within
    parentheses. calls: depth of templates calling templates. steps: nodes walked and values
    visited in one execution, about a microsecond each. output_chars: length of the result.
    allocated_chars: length of all strings and lists that functions make, added up.
    """

    source_chars: int = 131_072
    nesting: int = 100
    calls: int = 100
    steps: int = 1_000_000
    output_chars: int = 16_777_216
    allocated_chars: int = 33_554_432


DEFAULT_LIMITS = Limits()


class Execution:
    """What one execution has left to spend, its output, and the variables in force.

    Belongs to one thread. The counters go down; whoever takes one below zero calls `exceeded`.
    """

    __slots__ = (
        "allocated_left",
        "calls_left",
        "limits",
        "output",
        "output_left",
        "steps_left",
        "today",
        "variables",
        "write",
    )

    def __init__(self, limits: Limits, *, today: datetime.date | None = None) -> None:
        self.limits = limits
        self.today = today
        self.output: list[str] = []
        self.write: Callable[[str], None] = self.output.append
        self.variables: list[object] = []
        self.steps_left = limits.steps
        self.output_left = limits.output_chars
        self.allocated_left = limits.allocated_chars
        self.calls_left = limits.calls

    def step(self, count: int) -> None:
        """Spend `count` steps.

        Raises:
            TemplateLimitExceeded: none are left.
        """
        self.steps_left -= count
        if self.steps_left < 0:
            raise self.exceeded("steps")

    def allocate(self, chars: int) -> None:
        """Account for a new string of `chars` characters or a list of as many elements.

        Raises:
            TemplateLimitExceeded: the allowance is used up.
        """
        self.allocated_left -= chars
        if self.allocated_left < 0:
            raise self.exceeded("allocated_chars")

    def exceeded(self, limit: str) -> TemplateLimitExceeded:
        """The error for the named field of `Limits`, to be raised."""
        return TemplateLimitExceeded(limit, getattr(self.limits, limit))
