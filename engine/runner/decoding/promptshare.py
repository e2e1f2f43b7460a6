"""How much of a prompt one decode step may take while other requests generate.

A step lasts as long as its whole batch, so a long chunk of one prompt stops everyone else's
text. The pace of prompts is measured, and a chunk beside others kept to a step of about
`STEP_TARGET_NS`. A prompt alone always gets the whole batch: its chunks, and so the last bits of
its logits, do not depend on timing then.
"""

from typing import Final

STEP_TARGET_NS: Final = 200_000_000
LEAST_TOKENS: Final = 32
"""Length that a chunk may always have; a shorter one costs a step nearly as much."""


class PromptPace:
    """Nanoseconds a prompt token takes, as a moving average."""

    def __init__(self) -> None:
        self._token_ns: float | None = None

    def record(self, tokens: int, elapsed_ns: int) -> None:
        """Records a step with this many prompt tokens; short ones tell nothing."""
        if tokens < LEAST_TOKENS:
            return
        token_ns = elapsed_ns / tokens
        known = self._token_ns
        self._token_ns = token_ns if known is None else 0.7 * known + 0.3 * token_ns

    def expected_ns(self, tokens: int) -> float | None:
        """How long so many tokens would take; None before any were measured."""
        return None if self._token_ns is None else tokens * self._token_ns

    def limit_tokens(self, batch_tokens: int) -> int:
        """Prompt tokens for a step beside generating requests, at most the batch."""
        if self._token_ns is None:
            return min(batch_tokens, LEAST_TOKENS)
        return min(batch_tokens, max(LEAST_TOKENS, int(STEP_TARGET_NS / self._token_ns)))
