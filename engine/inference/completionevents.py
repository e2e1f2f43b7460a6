"""What comes out of a completion: pieces of text, then its end."""

from dataclasses import dataclass

from olmkit.engine.runner.protocol import EndReason, TokenLogprob


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A piece of the answer."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


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
    tokens: tuple[int, ...] = ()
    dropped_turns: int = 0
    """Turns that were left out of the prompt, which was too long."""
    dropped_tokens: int = 0
    """Tokens that were cut out of the middle of the prompt."""
    shifted_tokens: int = 0
    """Tokens that were forgotten while the answer was written."""
