"""Which tokens of an answer are settled: their text is let out, or a stop string has cut it off.

Text that may yet become a stop string is held back, and so are its tokens: what an answer's
tokens and log-probabilities tell is exactly its text.
"""

from dataclasses import dataclass, field

from olmkit.engine.runner.protocol import TokenLogprob

_Held = tuple[int, int, int, TokenLogprob | None]
"""Start, end, token, log-probability."""


@dataclass(slots=True)
class SettledTokens:
    """Tokens on their way out, by where their text begins and ends."""

    _seen: int = 0
    """Characters of all tokens so far."""
    _let_out: int = 0
    """Characters of the text so far."""
    _held: list[_Held] = field(default_factory=list)

    def push(self, token: int, text: str, logprob: TokenLogprob | None) -> None:
        """Takes a token with the text that it added."""
        start = self._seen
        self._seen += len(text)
        self._held.append((start, self._seen, token, logprob))

    def take(self, let_out: str, *, is_cut: bool) -> tuple[list[int], list[TokenLogprob]]:
        """The tokens that more text settles; the rest stays held, or is dropped when cut off.

        A token whose text is cut in two counts as part of the answer.
        """
        self._let_out += len(let_out)
        end = self._let_out
        if is_cut:
            taken = [one for one in self._held if one[0] < end]
            self._held = []
        else:
            count = next((i for i, one in enumerate(self._held) if one[1] > end), len(self._held))
            taken, self._held = self._held[:count], self._held[count:]
        return _told(taken)

    def take_rest(self) -> tuple[list[int], list[TokenLogprob]]:
        """All that is still held: the answer has ended, and no stop string came of it."""
        taken, self._held = self._held, []
        return _told(taken)


def _told(held: list[_Held]) -> tuple[list[int], list[TokenLogprob]]:
    logprobs = [logprob for *_, logprob in held if logprob is not None]
    return [token for _, _, token, _ in held], logprobs
