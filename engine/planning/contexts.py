"""How long a context to load with: what was asked for, what fits, and what is usual. Pure."""

from collections.abc import Callable
from typing import Final

DEFAULT_CONTEXT_TOKENS: Final = 4096
"""Where neither the request, the model nor the settings say, and no card says otherwise."""
MOST_CONTEXT_TOKENS: Final = 1 << 20
"""Looked for at most, where a model does not say what it was trained on."""
TIERS: Final = ((47 * 2**30, 262_144), (23 * 2**30, 32_768))
"""On so much memory of cards so many tokens, unless less fits.
Source: https://github.com/ollama/ollama/blob/main/docs/context-length.mdx"""
_STEP_TOKENS: Final = 256


def choose_context_tokens(asked: int, *, trained: int | None, card_bytes: int = 0) -> int:
    """The context length to load with; `asked` 0: automatic. Never over what was trained.

    `card_bytes`: the memory of all cards that may be used.
    """
    usual = next((tokens for least, tokens in TIERS if card_bytes >= least), DEFAULT_CONTEXT_TOKENS)
    tokens = asked or usual
    return min(tokens, trained) if trained else tokens


def largest_context_tokens(fits: Callable[[int], bool], *, least: int, most: int) -> int | None:
    """The longest context from `least` to `most` that `fits`, in steps of 256 tokens; None: none.

    What fits with some context must fit with every shorter one.
    """
    if fits(most):
        return most
    if least > most or not fits(least):
        return None
    low, high = 0, -(-(most - least) // _STEP_TOKENS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(least + middle * _STEP_TOKENS) else (low, middle)
    return least + low * _STEP_TOKENS
