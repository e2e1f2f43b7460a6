"""How many tokens are computed at once, where that is left to olm. Pure."""

from collections.abc import Collection
from typing import Final

import msgspec

from olmkit.engine.devices.inventory import Device
from olmkit.engine.runner.protocol import LoadOptions

USUAL_TOKENS: Final = 512
"""Ollama's and llama-server's figure."""
WIDE_TOKENS: Final = 2048
"""On an H200 a token of a prompt takes 117 microseconds with it instead of 141."""
_WIDE_BACKENDS: Final = frozenset({"CUDA"})
"""Those on which that was measured."""
_WIDE_PART: Final = 1 / 32
"""Of a card's memory, that the larger buffers may take."""


def with_batch(options: LoadOptions) -> LoadOptions:
    """The options with the usual batch, unless they name one."""
    if options.batch_tokens:
        return options
    return msgspec.structs.replace(options, batch_tokens=USUAL_TOKENS)


def widened(options: LoadOptions) -> LoadOptions:
    """The options with a wide batch."""
    return msgspec.structs.replace(options, batch_tokens=WIDE_TOKENS)


def may_be_wide(cards: Collection[Device], more_bytes: int) -> bool:
    """Whether a wide batch pays on these cards, and its buffers take little of each."""
    return bool(cards) and all(
        card.backend in _WIDE_BACKENDS and more_bytes <= card.total_bytes * _WIDE_PART
        for card in cards
    )
