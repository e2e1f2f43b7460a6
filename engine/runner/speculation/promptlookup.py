"""Drafts taken from the text itself: what followed the last time that it said the same.

Answers repeat their prompts: code with one change, a summary's names, a quoted error. Where the
last tokens stood before, the tokens behind that place are a guess at the next ones, which the
model checks in one step. Only what it would have said itself is taken, so the guess changes how
many steps an answer takes, and nothing else.

A token that is checked in vain costs a processor nearly as much as one that is said. So drafts
begin short, double as long as all of them is right, and need a longer agreement after each that
was wrong; text that does not repeat itself soon gets none. That depends on the tokens alone, not
on clocks: the same request is drafted in the same way again.

Source: prompt lookup decoding, https://github.com/apoorvumang/prompt-lookup-decoding; Leviathan
and others, Fast Inference from Transformers via Speculative Decoding, 2023, arXiv:2211.17192.
"""

from collections.abc import Sequence
from typing import Final

_KEY_TOKENS: Final = 3
"""Tokens that must stand the same for a place to be looked at."""
_MOST_PLACES: Final = 8
"""Places kept for the same few tokens: the latest ones."""
_LONGEST_AGREEMENT: Final = 48
"""Tokens that are compared; more agreement tells nothing more."""
_MOST_TOKENS: Final = 1 << 16
"""Of a text that are remembered."""

FIRST_DEPTH: Final = 8
MOST_DEPTH: Final = 32
"""Tokens of one draft: a longer step would be felt."""
LEAST_AGREEMENT: Final = 8
MOST_AGREEMENT: Final = 40


class PromptLookup:
    """The drafts for one growing text, which only ever gets longer at its end."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, ...], list[int]] = {}
        """Ends of earlier occurrences, by the tokens before them."""
        self._seen = _KEY_TOKENS - 1
        """Tokens of the text that are in `_places`."""
        self._depth = FIRST_DEPTH
        self._agreement = LEAST_AGREEMENT

    def draft(self, tokens: Sequence[int], most: int) -> list[int]:
        """A guess at up to `most` next tokens; empty where there is none worth its cost."""
        if len(tokens) > _MOST_TOKENS:
            return []
        self._read(tokens)
        end, agreement = self._best_place(tokens)
        if agreement < self._agreement:
            return []
        return list(tokens[end : end + min(self._depth, most)])

    def record(self, drafted: int, accepted: int) -> None:
        """Tells how many tokens of the last draft were right."""
        if accepted == drafted:
            self._depth = min(MOST_DEPTH, 2 * self._depth)
            self._agreement = max(LEAST_AGREEMENT, self._agreement - drafted)
            return
        self._depth = max(FIRST_DEPTH, min(self._depth, 2 * accepted))
        if 2 * accepted < drafted:
            self._agreement = min(MOST_AGREEMENT, self._agreement + FIRST_DEPTH)

    def _read(self, tokens: Sequence[int]) -> None:
        """Takes in all places before the end of the text: the end itself says nothing."""
        for end in range(self._seen + 1, len(tokens)):
            places = self._places.setdefault(tuple(tokens[end - _KEY_TOKENS : end]), [])
            places.append(end)
            if len(places) > _MOST_PLACES:
                del places[0]
        self._seen = max(self._seen, len(tokens) - 1)

    def _best_place(self, tokens: Sequence[int]) -> tuple[int, int]:
        """Where the text agrees longest with its own end, the latest such place, and how long."""
        best, longest = 0, 0
        if len(tokens) < _KEY_TOKENS:
            return best, longest
        for end in reversed(self._places.get(tuple(tokens[-_KEY_TOKENS:]), ())):
            agreement = _KEY_TOKENS
            while (
                agreement < min(end, _LONGEST_AGREEMENT)
                and tokens[end - 1 - agreement] == tokens[-1 - agreement]
            ):
                agreement += 1
            if agreement > longest:
                best, longest = end, agreement
        return best, longest
