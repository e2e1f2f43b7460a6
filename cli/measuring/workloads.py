"""What a model is asked to find its speed: pure data.

Every prompt begins differently, so that nothing of it is in a cache, and goes on with the same
words, so that each round computes the same.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

STREAMS: Final = (1, 4, 8)
SHARING: Final = 8
"""Requests at once that have one beginning."""
SHARED_ANSWER_TOKENS: Final = 16
DECODE_PROMPT_TOKENS: Final = 24
TEXTS: Final = 64
"""Short texts in one request for embeddings."""
_TEXT: Final = (
    "the old ship left the harbour at noon and the people on the quay looked after it until"
    " its sails were small and white like the wings of a bird over the quiet water"
)
_WORDS: Final = tuple(_TEXT.split())
_TOKENS_A_WORD: Final = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """About how many tokens the requests have; what they really had is counted by the daemon."""

    prompt_tokens: int = 512
    answer_tokens: int = 64
    prefix_tokens: int = 1024

    def within(self, context_tokens: int) -> "Sizes":
        """The same, so that a request takes half of a context at the most."""
        room = max(16, context_tokens // 2)
        return replace(
            self,
            prompt_tokens=min(self.prompt_tokens, room),
            answer_tokens=min(self.answer_tokens, room),
            prefix_tokens=min(self.prefix_tokens, room),
        )

    def halved(self) -> "Sizes":
        """Half of everything, but for what is small already."""
        return Sizes(
            prompt_tokens=max(64, self.prompt_tokens // 2),
            answer_tokens=max(16, self.answer_tokens // 2),
            prefix_tokens=max(128, self.prefix_tokens // 2),
        )

    def round_s(self, *, prompt_rate: float, answer_rate: float) -> float:
        """About how long one round takes at these speeds, in tokens a second."""
        streams = sum(STREAMS)
        prompts = streams * (self.prompt_tokens + DECODE_PROMPT_TOKENS) + self.prefix_tokens
        answers = streams * self.answer_tokens + SHARING * SHARED_ANSWER_TOKENS
        return prompts / prompt_rate + answers / answer_rate

    def as_json(self) -> dict[str, int]:
        """The sizes by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The body of one request for an answer, and how long that is."""

    model: str
    options: dict[str, object]

    def body(self, prompt: str, answer_tokens: int) -> dict[str, Any]:
        """A prompt that goes to the model as it is, and an answer of exactly so many tokens."""
        limits = {"num_predict": answer_tokens, "ignore_eos": True}
        return {
            "model": self.model,
            "prompt": prompt,
            "raw": True,
            "stream": True,
            "options": {"temperature": 0, **self.options, **limits},
        }

    def decoding(self, salt: str, streams: int, sizes: Sizes) -> list[dict[str, Any]]:
        """Short prompts with answers."""
        return [
            self.body(text(DECODE_PROMPT_TOKENS, f"{salt}.{number}"), sizes.answer_tokens)
            for number in range(streams)
        ]

    def prompts(self, salt: str, streams: int, sizes: Sizes) -> list[dict[str, Any]]:
        """Long prompts of which only the first token of an answer is wanted."""
        return [
            self.body(text(sizes.prompt_tokens, f"{salt}.{number}"), 1) for number in range(streams)
        ]

    def sharing(self, salt: str, sizes: Sizes) -> list[dict[str, Any]]:
        """Prompts that differ in their last words alone."""
        prefix = text(sizes.prefix_tokens, salt)
        return [
            self.body(f"{prefix} Question {number}:", SHARED_ANSWER_TOKENS)
            for number in range(SHARING)
        ]


def text(tokens: int, salt: str) -> str:
    """A text of about so many tokens that begins with the salt."""
    count = max(1, int(tokens / _TOKENS_A_WORD))
    words = (_WORDS[number % len(_WORDS)] for number in range(count))
    return f"[{salt}] {' '.join(words)}"


def texts(salt: str) -> Sequence[str]:
    """Short texts for an embedding model, each a little different."""
    return [f"{salt} {number}: {' '.join(_WORDS[:12])}" for number in range(TEXTS)]
