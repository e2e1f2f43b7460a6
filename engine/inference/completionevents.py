"""What comes out of a completion: the length of its prompt, pieces of text, then its end.

What is made anew for every token is a `msgspec.Struct`: it takes an eighth of the time that a
frozen dataclass takes.
"""

from dataclasses import dataclass

import msgspec

from olmkit.engine.runner.protocol import EndReason, TokenLogprob


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCounts:
    """How long the prompt was, known before the first token of the answer."""

    prompt_tokens: int
    cached_tokens: int


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of the answer."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    tokens: int = 0
    """How many tokens were sampled for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The answer's end, always the last event."""

    reason: EndReason
    stop_string: str | None
    total_ns: int
    load_ns: int
    """From the request's arrival until the model was ready."""
    prompt_tokens: int
    cached_tokens: int
    prompt_ns: int
    completion_tokens: int
    completion_ns: int
    thought_tokens: int = 0
    """Of the tokens sampled, those of a thought."""
    tokens: tuple[int, ...] = ()
    dropped_turns: int = 0
    """Turns that were left out of the prompt, which was too long."""
    dropped_tokens: int = 0
    """Tokens that were cut out of the middle of the prompt."""
    shifted_tokens: int = 0
    """Tokens that were forgotten while the answer was written."""
    room_wait_ns: int = 0
    """How long it waited for room in the KV cache."""

    @property
    def is_cut(self) -> bool:
        """Whether the answer was ended from outside: by a limit, or because it repeated itself."""
        return self.reason in (EndReason.LENGTH, EndReason.REPEAT_LIMIT)


CompletionEvent = PromptCounts | Text | Finished
