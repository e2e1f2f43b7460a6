"""How much of a loaded model lies on graphics cards, as `ps` tells it. Pure.

llama.cpp keeps the tensors that only look tokens up (the token embedding) in main memory whatever
is offloaded: rows of it are fetched, nothing is computed. A model all of whose layers are on cards
counts as wholly there, as it does in Ollama.
Source: llama.cpp, src/llama-arch.cpp, LLM_TENSOR_LAYER_INPUT; src/llama-model.cpp, `dev_input`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from olmkit.engine.gguf.header import GgufHeader
from olmkit.engine.planning.ledger import HOST
from olmkit.engine.runner.protocol import Buffer
from olmkit.engine.scheduling.bringup import buffer_bytes, is_on_card

_INPUT_TENSORS: Final = frozenset(
    {
        "token_embd.weight",
        "token_types.weight",
        "position_embd.weight",
        "per_layer_token_embd.weight",
    }
)
_EMBEDDING: Final = "token_embd.weight"
_OUTPUT: Final = "output.weight"
_SLACK_BYTES: Final = 1 << 20
"""Tensors are padded on both sides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What a model takes."""

    total_bytes: int
    card_bytes: int
    """The part on cards; all of it where every layer is there."""


def bytes_by_name(buffers: Iterable[Buffer]) -> dict[str, int]:
    """What lies on each device; host buffers of cards are main memory, `CPU`."""
    sizes: dict[str, int] = {}
    for buffer in buffers:
        name = buffer.device if is_on_card(buffer) else HOST
        sizes[name] = sizes.get(name, 0) + buffer_bytes(buffer)
    return sizes


def placement_of(buffers: Sequence[Buffer], header: GgufHeader) -> Placement:
    """Where the model of `header` lies, by the buffers that llama.cpp reported."""
    cards = [buffer for buffer in buffers if is_on_card(buffer)]
    host = [buffer for buffer in buffers if not is_on_card(buffer)]
    card_bytes = sum(map(buffer_bytes, cards))
    if cards and _has_all_layers(cards, host, header):
        return Placement(total_bytes=card_bytes, card_bytes=card_bytes)
    return Placement(total_bytes=card_bytes + sum(map(buffer_bytes, host)), card_bytes=card_bytes)


def _has_all_layers(cards: Sequence[Buffer], host: Sequence[Buffer], header: GgufHeader) -> bool:
    """Whether nothing but the input tensors is left in main memory."""
    host_weights_bytes = sum(buffer.weights_bytes for buffer in host)
    card_weights_bytes = sum(buffer.weights_bytes for buffer in cards)
    return (
        not any(buffer.kv_bytes for buffer in host)
        and host_weights_bytes <= _input_span_bytes(header) + _SLACK_BYTES
        and card_weights_bytes + _SLACK_BYTES >= _layer_bytes(header)
    )


def _input_span_bytes(header: GgufHeader) -> int:
    """Most that the input tensors take: mapped from the file, they come with what lies between."""
    inputs = [tensor for tensor in header.tensors if tensor.name in _INPUT_TENSORS]
    begin = min((tensor.offset_bytes for tensor in inputs), default=0)
    end = max((tensor.offset_bytes + tensor.size_bytes for tensor in inputs), default=0)
    return end - begin


def _layer_bytes(header: GgufHeader) -> int:
    """Least that the layers take: all but the input, with an output that is tied to it."""
    sizes = {tensor.name: tensor.size_bytes for tensor in header.tensors}
    layers_bytes = sum(size for name, size in sizes.items() if name not in _INPUT_TENSORS)
    is_encoder = header.metadata.get(f"{header.architecture}.attention.causal") is False
    if _OUTPUT not in sizes and not is_encoder:
        layers_bytes += sizes.get(_EMBEDDING, 0)
    return layers_bytes
