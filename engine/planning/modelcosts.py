"""What each layer of a model takes, from the header of its file and the load options."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from olmkit.engine.gguf.header import GgufHeader
from olmkit.engine.planning.devicelayout import LayerCost, ModelCost
from olmkit.engine.planning.footprint import compute_bytes, kv_layer_bytes
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
_LOGIT_BYTES: Final = 4


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
    is_encoder = header.metadata.get(f"{header.architecture}.attention.causal") is False
    if not has_output and not is_encoder:
        output_bytes += embedding_bytes  # tied: the output layer has a copy of its own
    if draft is not None and not options.embedding:
        beside = model_cost(draft, options)
        output_bytes += beside.output_bytes + beside.compute_bytes
        output_bytes += sum(layer.weights_bytes + layer.kv_bytes for layer in beside.layers)
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

    A mapped file takes main memory from its first tensor there to its last, whatever lies between;
    what is repacked is there a second time.
    """
    span_bytes = mapped_span_bytes(header, layout)
    return [
        msgspec.structs.replace(
            buffer, weights_bytes=max(span_bytes, buffer.weights_bytes) + buffer.repacked_bytes
        )
        if is_mapped and buffer.device == HOST and buffer.weights_bytes
        else buffer
        for buffer in buffers
    ]


def mapped_span_bytes(header: GgufHeader, layout: Layout) -> int:
    """What a mapped file takes of main memory: from its first tensor there to its last.

    Tensors of other places that lie between come with them.

    Source: llama.cpp, src/llama-model-loader.cpp, get_mapping_range.
    """
    first_on_device = (header.block_count or 0) + 1 - layout.layers
    begin, end = None, 0
    for tensor in header.tensors:
        match = _LAYER.match(tensor.name)
        if match:
            layer = int(match[1])
            is_expert = _EXPERTS.match(match[2]) and layer < layout.cpu_expert_layers
            is_here = layer < first_on_device or bool(is_expert)
        else:
            is_here = tensor.name in INPUT_TENSORS or not layout.layers
        if is_here:
            begin = tensor.offset_bytes if begin is None else min(begin, tensor.offset_bytes)
            end = max(end, tensor.offset_bytes + tensor.size_bytes)
    return end - (begin or 0) if end else 0
