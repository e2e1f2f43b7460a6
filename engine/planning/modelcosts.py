"""What each layer of a model takes, from the header of its file and the load options."""

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import chain, combinations
from typing import Final

import msgspec

from olmkit.engine.gguf.header import GgufHeader
from olmkit.engine.gguf.tables import Tensor
from olmkit.engine.planning.devicelayout import LayerCost, ModelCost
from olmkit.engine.planning.footprint import compute_bytes, head_compute_bytes, kv_layer_bytes
from olmkit.engine.planning.ledger import HOST
from olmkit.engine.runner.layouts import Layout
from olmkit.engine.runner.protocol import Buffer, LoadOptions

_LAYER: Final = re.compile(r"blk\.(\d+)\.(.*)")
_EXPERTS: Final = re.compile(r"ffn_(up|down|gate|gate_up)_(ch|)exps")
"""Source: llama.cpp, common/common.h, LLM_FFN_EXPS_REGEX."""
INPUT_TENSORS: Final = frozenset(
    {
        "token_embd.weight",
        "token_types.weight",
        "position_embd.weight",
        "per_layer_token_embd.weight",
    }
)
"""Always in main memory: rows of them are fetched, nothing is computed.
Source: llama.cpp, src/llama-arch.cpp, LLM_TENSOR_LAYER_INPUT; src/llama-model.cpp, `dev_input`."""
_EMBEDDING: Final = "token_embd.weight"
_OUTPUT: Final = "output.weight"
_TILED: Final = {
    "Q8_0": 608 / 544,
    "Q4_K": 2368 / 2304,
    "Q5_K": 2880 / 2816,
    "IQ4_XS": 2208 / 2176,
}
"""How much larger tensors become as tiles for AMX; of other types they stay as large as they are.
Source: llama.cpp, ggml/src/ggml-cpu/amx/mmq.cpp, get_tile_size."""
_MOST_TYPES: Final = 8
"""Of tensors, that are told apart; no file has more for what is multiplied with."""


def model_cost(
    header: GgufHeader, options: LoadOptions, *, draft: GgufHeader | None = None
) -> ModelCost:
    """The costs of the model when it is loaded with these options.

    A draft model lies whole where the output layer lies, and counts as a part of it.
    """
    count = header.block_count or 0
    weights, experts = [0] * count, [0] * count
    output_bytes, has_output = 0, False
    embedding_bytes = 0
    for tensor in header.tensors:
        match = _LAYER.match(tensor.name)
        if match and int(match[1]) < count:
            layer = int(match[1])
            weights[layer] += tensor.size_bytes
            if _EXPERTS.match(match[2]):
                experts[layer] += tensor.size_bytes
        elif tensor.name not in INPUT_TENSORS:
            output_bytes += tensor.size_bytes
            has_output = has_output or tensor.name == _OUTPUT
        elif tensor.name == _EMBEDDING:
            embedding_bytes = tensor.size_bytes
    if not has_output and not _is_encoder(header):
        output_bytes += embedding_bytes  # tied: the output layer has a copy of its own
    if draft is not None and not options.embedding:
        beside = model_cost(draft, options)
        output_bytes += beside.output_bytes + beside.compute_bytes
        output_bytes += sum(layer.weights_bytes + layer.kv_bytes for layer in beside.layers)
    elif draft is None:
        output_bytes += head_compute_bytes(header, options)
    kv = kv_layer_bytes(header, options)
    return ModelCost(
        layers=tuple(
            LayerCost(weights_bytes=weights[i], kv_bytes=kv[i], expert_bytes=experts[i])
            for i in range(count)
        ),
        output_bytes=output_bytes,
        compute_bytes=compute_bytes(header, options),
    )


def bytes_per_token(header: GgufHeader) -> int:
    """What is read of the weights for one token: all but rows looked up and experts not used."""
    cost = model_cost(header, LoadOptions(context_tokens=1))
    experts = header.own_integer("expert_count") or 1
    used = min(experts, header.own_integer("expert_used_count") or experts)
    total = cost.output_bytes
    for layer in cost.layers:
        total += layer.weights_bytes - layer.expert_bytes * (experts - used) // experts
    return total


def as_loaded(
    header: GgufHeader, layout: Layout, buffers: Sequence[Buffer], *, is_mapped: bool
) -> list[Buffer]:
    """What a dry run reported, as the load itself will report it.

    A mapped file takes main memory from its first tensor there to its last, whatever lies between.
    What is repacked is beside it: its tensors are read out of the file into memory of their own.
    """
    return [
        msgspec.structs.replace(buffer, weights_bytes=_mapped_weights_bytes(header, layout, buffer))
        if is_mapped and buffer.device == HOST and buffer.weights_bytes
        else buffer
        for buffer in buffers
    ]


def _mapped_weights_bytes(header: GgufHeader, layout: Layout, buffer: Buffer) -> int:
    """The weights in main memory, of which a dry run says `buffer`, where the file is mapped."""
    plain_bytes = buffer.weights_bytes - buffer.repacked_bytes
    span_bytes = mapped_span_bytes(header, layout, repacked_bytes=buffer.repacked_bytes)
    return max(span_bytes, plain_bytes) + buffer.repacked_bytes


def mapped_span_bytes(header: GgufHeader, layout: Layout, *, repacked_bytes: int = 0) -> int:
    """What a mapped file takes of main memory: from its first tensor there to its last.

    Tensors of other places that lie between come with them. `repacked_bytes`: of tensors that are
    copied from the file to memory of their own.

    Source: llama.cpp, src/llama-model-loader.cpp, get_mapping_range.
    """
    repacked_types = _repacked_types(header, layout, repacked_bytes)
    begin, end = None, 0
    for tensor in _host_tensors(header, layout):
        if tensor.name in INPUT_TENSORS or not _may_be_repacked(tensor, repacked_types):
            begin = tensor.offset_bytes if begin is None else min(begin, tensor.offset_bytes)
            end = max(end, tensor.offset_bytes + tensor.size_bytes)
    return end - (begin or 0) if end else 0


def _host_tensors(header: GgufHeader, layout: Layout) -> Iterator[Tensor]:
    """The tensors that lie in main memory."""
    first_on_device = (header.block_count or 0) + 1 - layout.layers
    for tensor in header.tensors:
        match = _LAYER.match(tensor.name)
        if match:
            layer = int(match[1])
            is_expert = _EXPERTS.match(match[2]) and layer < layout.cpu_expert_layers
            is_here = layer < first_on_device or bool(is_expert)
        else:
            is_here = tensor.name in INPUT_TENSORS or not layout.layers
        if is_here:
            yield tensor


def _may_be_repacked(tensor: Tensor, types: Set[str]) -> bool:
    return tensor.type_name in types and len(tensor.shape) > 1


def _repacked_types(header: GgufHeader, layout: Layout, repacked_bytes: int) -> Set[str]:
    """The types of tensors that the processor has in an order of its own: those that together are
    nearest to `repacked_bytes`, for which types those are is the engine's and the processor's.
    """
    sizes: dict[str, int] = {}
    has_output = False
    for tensor in _host_tensors(header, layout):
        has_output = has_output or tensor.name == _OUTPUT
        if len(tensor.shape) > 1 and tensor.name not in INPUT_TENSORS:
            sizes[tensor.type_name] = sizes.get(tensor.type_name, 0) + tensor.size_bytes
    is_tied = not has_output and not layout.layers and not _is_encoder(header)
    for tensor in header.tensors:
        if tensor.name == _EMBEDDING and is_tied:  # the output layer has a copy of its own
            sizes[tensor.type_name] = sizes.get(tensor.type_name, 0) + tensor.size_bytes
    largest = sorted(sizes, key=lambda name: -sizes[name])[:_MOST_TYPES]
    choices = chain.from_iterable(combinations(largest, n) for n in range(len(largest) + 1))

    def difference(types: Iterable[str]) -> float:
        tiled = sum(sizes[name] * _TILED.get(name, 1.0) for name in types)
        return min(abs(size - repacked_bytes) for size in (sum(sizes[t] for t in types), tiled))

    return set(min(choices, key=difference))


def _is_encoder(header: GgufHeader) -> bool:
    return header.metadata.get(f"{header.architecture}.attention.causal") is False
