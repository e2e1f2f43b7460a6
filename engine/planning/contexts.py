"""How long a context to load with: what was asked for, what fits, and what costs little. Pure."""

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from olmkit.engine.planning.admission import notes_of_context, notes_of_contexts
from olmkit.engine.runner.protocol import LoadOptions

DEFAULT_CONTEXT_TOKENS: Final = 4096
"""Where neither the request, the model nor the settings say, and no card says otherwise."""
MOST_CONTEXT_TOKENS: Final = 1 << 20
"""Looked for at most, where a model does not say what it was trained on."""
BARE_CONTEXT_TOKENS: Final = 256
"""What a context takes is counted beyond this one: no cache is smaller."""
TIERS: Final = ((47 * 2**30, 262_144), (23 * 2**30, 32_768))
"""On so much memory of cards so many tokens, unless less fits.
Source: https://github.com/ollama/ollama/blob/main/docs/context-length.mdx"""
_STEP_TOKENS: Final = 256
_PART_OF_FREE: Final = 8
_PART_OF_WEIGHTS: Final = 2


class ContextBy(enum.StrEnum):
    """What decided how long a context is."""

    ASKED = "asked"
    """The request, the model or the settings."""
    DEFAULT = "default"
    """Nobody: it is as long as usual."""
    TRAINED = "trained"
    """The model, which was trained on no more."""
    MEMORY = "memory"
    """What is free: a longer one would cost too much of it, or does not fit."""


Judge = Callable[[LoadOptions], bool]
"""Says yes or no to a model loaded with some options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenContext:
    """A context to load with."""

    options: LoadOptions
    by: ContextBy
    notes: tuple[str, ...]
    """A sentence for each way in which it is less than what was asked for."""


def search_context(
    options: LoadOptions,
    *,
    trained: int | None,
    card_bytes: int = 0,
    fits: Judge,
    would_fit: Judge,
    is_cheap_beside: Callable[[LoadOptions], Judge],
    may_lessen: bool = True,
) -> ChosenContext:
    """The options with the context that was asked for, or is usual, or is allowed and fits.

    `fits`: now; `would_fit`: if others left. Neither says yes to more than what it says yes to.
    `is_cheap_beside`: whether a longer context costs little, given the usual one. `may_lessen`:
    whether the pool may hold fewer full contexts than were asked for.
    """
    asked, wanted = options.context_tokens, options.contexts
    usual = choose_context_tokens(asked, trained=trained, card_bytes=card_bytes)
    least = options.least_context_tokens
    if card_bytes and not asked:
        least = least or DEFAULT_CONTEXT_TOKENS
    options = with_context(options, usual)
    if 0 < least < usual:
        tokens = _longest(options, fits, least) or _longest(options, would_fit, least) or least
        options = with_context(options, tokens)
    if fits(options):
        if not asked and not options.embedding:
            is_cheap = is_cheap_beside(options)
            tokens = longer_context_tokens(
                options.context_tokens,
                trained=trained,
                is_cheap=lambda n: is_cheap(with_context(options, n)),
            )
            options = with_context(options, tokens)
    elif may_lessen and not would_fit(options):
        options = _with_fewer_contexts(options, would_fit)
    notes = [*notes_of_contexts(wanted, options.contexts)]
    if asked or options.least_context_tokens:
        notes += notes_of_context(usual, options.context_tokens)
    by = _decided_by(options.context_tokens, asked=asked, usual=usual, trained=trained)
    return ChosenContext(options=options, by=by, notes=tuple(notes))


def _longest(options: LoadOptions, fits: Judge, least: int) -> int | None:
    most = options.context_tokens
    return largest_context_tokens(lambda n: fits(with_context(options, n)), least=least, most=most)


def _with_fewer_contexts(options: LoadOptions, fits: Judge) -> LoadOptions:
    """A pool for as many full contexts as fit, one at the least."""
    for contexts in range(options.contexts - 1, 0, -1):
        options = msgspec.structs.replace(options, contexts=contexts)
        if fits(options):
            break
    return options


def with_context(options: LoadOptions, tokens: int) -> LoadOptions:
    """The options with another length of context."""
    return msgspec.structs.replace(options, context_tokens=tokens)


def choose_context_tokens(asked: int, *, trained: int | None, card_bytes: int = 0) -> int:
    """The context length to load with; `asked` 0: automatic. Never over what was trained.

    `card_bytes`: the memory of all cards that may be used.
    """
    usual = next((tokens for least, tokens in TIERS if card_bytes >= least), DEFAULT_CONTEXT_TOKENS)
    tokens = asked or usual
    return min(tokens, trained) if trained else tokens


def longer_context_tokens(
    usual: int, *, trained: int | None, is_cheap: Callable[[int], bool]
) -> int:
    """The longest of `usual`, twice and four times that, and so on, that is cheap; at most what the
    model was trained on, and `usual` where that is not known.

    What is cheap must be so with every shorter context.
    """
    best = usual
    for tokens in _doubled(usual, trained or usual):
        if not is_cheap(tokens):
            break
        best = tokens
    return best


def is_cheap(context: Mapping[str, int], left: Mapping[str, int], *, weights_bytes: int) -> bool:
    """Whether a context may take that much without having been asked for; bytes by device.

    At most an eighth of what is left there beside the weights, so that other models and programs
    hardly notice; at most half of the weights, so that a small model stays small and loads quickly.
    """
    is_little = all(size * _PART_OF_FREE <= left[device] for device, size in context.items())
    return is_little and sum(context.values()) * _PART_OF_WEIGHTS <= weights_bytes


def _decided_by(tokens: int, *, asked: int, usual: int, trained: int | None) -> ContextBy:
    if asked and tokens == asked:
        return ContextBy.ASKED
    if tokens == trained:
        return ContextBy.TRAINED
    return ContextBy.DEFAULT if tokens == usual else ContextBy.MEMORY


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


def _doubled(tokens: int, most: int) -> Iterator[int]:
    while tokens < most:
        tokens = min(2 * tokens, most)
        yield tokens
