"""LoRA adapters of PEFT to GGUF adapters.

An adapter says little about the model it is for: names, heads and layers come from the header of
the base model's GGUF.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from olmkit.engine.create.convert.architecture import Architecture, interleave
from olmkit.engine.create.convert.checkpoint import Checkpoint
from olmkit.engine.create.convert.elements import Floats, output_tensor, to_float32
from olmkit.engine.create.convert.float8 import check_is_float
from olmkit.engine.create.convert.general import QUANTIZATION_VERSION
from olmkit.engine.create.convert.hyperparameters import Hyperparameters
from olmkit.engine.create.safetensors import Tensor
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.header import GgufHeader
from olmkit.engine.gguf.writer import GgmlType, Metadata, OutputTensor

CONFIG_NAME: Final = "adapter_config.json"
_PREFIX: Final = "base_model.model."
_ENDS: Final = {
    ".lora_A.weight": "a",
    ".lora_B.weight": "b",
    ".lora_embedding_A": "a",
    ".lora_embedding_B": "b",
}
_HYPERPARAMETERS: Final = {
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "hidden_size": "embedding_length",
    "head_dim": "attention.key_length",
}


@dataclass(slots=True)
class _Pair:
    """The two factors of one weight's change."""

    tensors: dict[str, Tensor] = field(default_factory=dict)


def base_hyperparameters(base: GgufHeader) -> Hyperparameters:
    """The part of config.json that renaming tensors takes, out of the base model's header."""
    values: dict[str, Any] = {name: base.own_integer(key) for name, key in _HYPERPARAMETERS.items()}
    return Hyperparameters(values, file_name=base.name)


def adapter_metadata(checkpoint: Checkpoint, base: GgufHeader) -> Metadata:
    """The keys of the adapter's GGUF.

    Raises:
        ModelNotCreatable: no LoRA, or one with a scale that GGUF cannot say.
    """
    config = Hyperparameters(checkpoint.find_object(CONFIG_NAME), file_name=CONFIG_NAME)
    kind = config.text("peft_type", default="LORA")
    if kind != "LORA" or config.find("use_dora") is True or config.find("alpha_pattern"):
        raise ModelNotCreatable(f"{CONFIG_NAME}: only plain LoRA adapters are supported")
    alpha = config.number("lora_alpha")
    if config.find("use_rslora") is True:
        # llama.cpp divides by the rank, rank-stabilised LoRA by its root.
        if config.find("rank_pattern"):
            raise ModelNotCreatable(f"{CONFIG_NAME}: use_rslora with rank_pattern is not supported")
        alpha *= math.sqrt(config.integer("r"))
    return {
        "general.architecture": base.architecture,
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": alpha,
        "general.quantization_version": QUANTIZATION_VERSION,
    }


def adapter_tensors(
    checkpoint: Checkpoint, model: Architecture, base: GgufHeader
) -> list[OutputTensor]:
    """Both factors of each weight that the adapter changes, in float32, by the weight's name.

    Raises:
        ModelNotCreatable: a tensor that is no factor of a LoRA, has no partner, or belongs to a
            weight that the base model lacks or has in another shape.
    """
    shapes = {tensor.name: tensor.shape for tensor in base.tensors}
    result: list[OutputTensor] = []
    for name, pair in sorted(_pairs(checkpoint.tensors).items()):
        renamed = model.rename(name)
        if renamed is None:
            continue
        missing = {"a", "b"} - pair.tensors.keys()
        if missing:
            raise ModelNotCreatable(f"the adapter has only one of two factors of {name[:200]!r}")
        a, b = pair.tensors["a"], pair.tensors["b"]
        _check_shapes(renamed, a, b, shapes.get(renamed[0]))
        result += _factors(renamed[0], renamed[1], a, b, model)
    if not result:
        raise ModelNotCreatable("the adapter changes no tensor of the model")
    return result


def _pairs(tensors: Mapping[str, Tensor]) -> dict[str, _Pair]:
    pairs: dict[str, _Pair] = {}
    for name, tensor in tensors.items():
        for end, side in _ENDS.items():
            if name.endswith(end):
                check_is_float(tensor)
                weight = name.removesuffix(end).removeprefix(_PREFIX) + ".weight"
                pairs.setdefault(weight, _Pair()).tensors[side] = tensor
                break
        else:
            if not name.endswith(".base_layer.weight"):
                raise ModelNotCreatable(
                    f"tensor {name[:200]!r} is no part of a LoRA",
                    hint="adapters that replace whole weights have to be merged into the model",
                )
    return pairs


def _check_shapes(
    renamed: tuple[str, str], a: Tensor, b: Tensor, weight: tuple[int, ...] | None
) -> None:
    """`a` is `[rank, in]`, `b` `[out, rank]`, the weight in the base's GGUF `(in, out)`.

    Of an embedding `a` is `[rank, tokens]`, `b` `[width, rank]`, the weight `(width, tokens)`:
    PEFT changes it by the transpose of their product.
    Source: Embedding of
    https://github.com/huggingface/peft/blob/v0.17.0/src/peft/tuners/lora/layer.py
    """
    name, part = renamed
    fit = len(a.shape) == len(b.shape) == 2 and a.shape[0] == b.shape[1] > 0
    sides = (a.shape[1], b.shape[0]) if fit else ()
    if not fit or weight != (sides[::-1] if part == "token_embd" else sides):
        raise ModelNotCreatable(
            f"the adapter's factors {list(a.shape)} and {list(b.shape)} do not fit the model's "
            f"{name}, which is {list(weight[::-1]) if weight else 'absent'}"
        )


def _factors(
    name: str, part: str, a: Tensor, b: Tensor, model: Architecture
) -> Iterator[OutputTensor]:
    if part == "token_embd":
        yield _transposed(a, f"{name}.lora_a")
    else:
        yield output_tensor(a, f"{name}.lora_a", GgmlType.F32)
    heads = model.interleaved_heads(part)
    if heads and b.rows % (2 * heads):
        raise ModelNotCreatable(f"the base model's {name} has {b.rows} rows for {heads} heads")
    yield output_tensor(
        b,
        f"{name}.lora_b",
        GgmlType.F32,
        row_multiple=b.rows // heads if heads else 1,
        reorder=interleave(b.rows // heads) if heads else None,
    )


def _transposed(tensor: Tensor, name: str) -> OutputTensor:
    """Embeddings are looked up by row, which llama.cpp wants the other way round."""

    def blocks() -> Iterator[Floats]:
        yield np.ascontiguousarray(to_float32(tensor.read(), tensor.dtype).T)

    return OutputTensor(name=name, type=GgmlType.F32, shape=tensor.shape[::-1], blocks=blocks)
