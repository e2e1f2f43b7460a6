"""Whether there is room for a model, and the words for why not or with how much less. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from olmkit.engine.errors import OutOfMemory
from olmkit.engine.planning.footprint import MemoryPlan
from olmkit.engine.planning.ledger import HOST
from olmkit.engine.runner.layouts import Layout
from olmkit.engine.runner.protocol import LoadOptions

NEVER: Final = 1 << 62
"""Bytes that nobody can give back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MainMemoryRoom:
    """What main memory has for one more model, in bytes."""

    free_bytes: int
    held_bytes: int = 0
    """What other models would give back that can be asked to leave."""
    may_be_freed: bool = False
    """Whether others are being loaded, which may leave once they are."""
    swap_bytes: int = 0
    """Free swap space."""
    may_swap: bool = True
    """Whether a model may be loaded of which a part is swapped out."""


def check_memory(name: str, plan: MemoryPlan, options: LoadOptions, room: MainMemoryRoom) -> int:
    """What of the plan only swap space has room for, in bytes; 0: it fits.

    Others leave before anything is swapped out: as many as it takes, or all.

    Raises:
        OutOfMemory: others must leave first (`missing` says how much they hold of it), or there is
            no room at all; one sentence with the numbers.
    """
    swap_bytes = room.swap_bytes if room.may_swap else 0
    over_bytes = plan.total_bytes - room.free_bytes
    if over_bytes <= 0:
        return 0
    may_fit = over_bytes <= room.held_bytes + swap_bytes
    if may_fit and not room.held_bytes and not room.may_be_freed:
        return over_bytes
    swap = f" and {_size(swap_bytes)} of swap space" if swap_bytes else ""
    hint = "use a smaller num_ctx or model, or stop other programs"
    if not room.may_swap and over_bytes <= room.swap_bytes:
        hint = "use a smaller num_ctx or model, or let swap space take the rest (OLM_DEGRADE=warn)"
    raise OutOfMemory(
        f"{name} needs {_size(plan.total_bytes)} of memory (weights {_size(plan.weights_bytes)}, "
        f"{_context(options).removeprefix('a ')} {_size(plan.kv_bytes)}, "
        f"working memory {_size(plan.compute_bytes + plan.process_bytes)}) "
        f"but only {_size(max(0, room.free_bytes))}{swap} {'are' if swap else 'is'} free",
        needed_bytes=plan.total_bytes,
        free_bytes=room.free_bytes,
        missing={HOST: min(over_bytes, room.held_bytes or over_bytes) if may_fit else over_bytes},
        hint=hint,
    )


def too_little_on_devices(
    name: str, needs: Mapping[str, int], missing: Mapping[str, int]
) -> OutOfMemory:
    """The error of a layout for which others must give up what is `missing`; bytes by device."""
    needed_bytes, missing_bytes = sum(needs.values()), sum(missing.values())
    return OutOfMemory(
        f"{name} needs {needed_bytes >> 20} MiB on {', '.join(needs)}, of"
        f" which {missing_bytes >> 20} MiB on {', '.join(missing)} are not free",
        needed_bytes=needed_bytes,
        free_bytes=needed_bytes - missing_bytes,
        missing=missing,
    )


def never_on_devices(
    name: str, options: LoadOptions, *, layers: int, needed_bytes: int, free_bytes: int
) -> OutOfMemory:
    """The error of a model that does not fit as it was asked for, whoever leaves.

    `layers`: that were to be on devices; -1: all.
    """
    what = "all its layers" if layers < 0 else f"{layers} layers"
    return OutOfMemory(
        f"{name} does not fit on the graphics cards with {what} and {_context(options)}:"
        f" it needs {needed_bytes >> 20} MiB of {free_bytes >> 20} MiB",
        needed_bytes=needed_bytes,
        free_bytes=free_bytes,
        missing={HOST: NEVER},
        hint="use a smaller num_ctx or model, or let the processor compute some layers"
        " (no --require-gpu, OLM_DEGRADE=warn)",
    )


def note_of_swap(over_bytes: int) -> str:
    """The sentence for a model of which so much is over the free main memory."""
    return (
        f"it needs {_size(over_bytes)} more than main memory has free: that part is swapped out,"
        " or read from disk again and again, and answers will be slow"
    )


def notes_of_context(asked: int, tokens: int) -> Iterator[str]:
    """The sentence for a context that is shorter than what was asked for, if it is."""
    if tokens < asked:
        yield f"the context is {tokens} tokens instead of {asked}: more does not fit"


def notes_of_contexts(asked: int, contexts: int) -> Iterator[str]:
    """The sentence for a KV cache that holds fewer full contexts than asked for, if it does."""
    if contexts < asked:
        yield (
            f"the KV cache holds {contexts} full contexts instead of {asked}: more do not fit,"
            " so long requests side by side may wait for each other"
        )


def notes_of_layout(layout: Layout, *, layers: int) -> Iterator[str]:
    """A sentence for each way in which this is less than all layers on devices."""
    if layout.cpu_expert_layers:
        yield (
            f"the experts of {layout.cpu_expert_layers} layers are in main memory:"
            " the cards have no room for them"
        )
    if layout.layers < layers:
        yield f"{layout.layers} of {layers} layers are on graphics cards: more do not fit"


def _context(options: LoadOptions) -> str:
    tokens = f"{options.context_tokens} tokens"
    return (
        f"a context of {tokens}"
        if options.contexts < 2
        else f"{options.contexts} contexts of {tokens}"
    )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes >> 20} MiB"
