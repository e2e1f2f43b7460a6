"""Heads in a model's own file that guess further tokens (MTP, "NextN"): its last layers.

Which of them llama.cpp can compute depends on the architecture. It ends the process where a part is
missing that it counts on, so a file is held against that before. A model whose state cannot go back
behind a wrong guess (Qwen3-Next, Qwen 3.5, Nemotron-H) gets nothing from its head.

Source: llama.cpp, src/models/*.cpp, graph_mtp.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from olmkit.engine.gguf.header import GgufHeader
from olmkit.engine.gguf.tables import Tensor

_COUNT: Final = "nextn_predict_layers"
_ENTRANCE: Final = ("nextn.eh_proj", "nextn.enorm", "nextn.hnorm")
_MIXTURE: Final = ("ffn_gate_inp",)
_LATENT: Final = ("attn_q_a", "attn_q_a_norm", "attn_q_b", "attn_kv_a_mqa", "attn_kv_a_norm")
_LATENT_MIXTURE: Final = (
    *(*_LATENT, "attn_k_b", "ffn_norm", "ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps"),
    *("ffn_down_exps", "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"),
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What llama.cpp counts on in the heads of an architecture."""

    tensors: tuple[str, ...] = ()
    """Of the head, beside those at its entrance."""
    may_be_several: bool = False
    unknown_keys: tuple[str, ...] = ()
    """Which a model may not have."""


_KINDS: Final[Mapping[str, _Kind]] = {
    "cohere2moe": _Kind(_MIXTURE),
    "deepseek2": _Kind(_LATENT_MIXTURE, unknown_keys=("attention.temperature_scale",)),
    "deepseek32": _Kind(_MIXTURE),
    "glm-dsa": _Kind(_MIXTURE),
    "glm4moe": _Kind(_MIXTURE),
    "hy_v3": _Kind(may_be_several=True),
    "mimo2": _Kind(("attn_qkv", "ffn_gate", "ffn_up", "ffn_down"), may_be_several=True),
    "step35": _Kind(may_be_several=True),
}


def head_tensors(header: GgufHeader) -> list[Tensor]:
    """The tensors of all heads; none where the file has no head."""
    first = (header.block_count or 0) - _count(header)
    prefixes = tuple(f"blk.{layer}." for layer in range(first, header.block_count or 0))
    found = [tensor for tensor in header.tensors if tensor.name.startswith(prefixes)]
    return found if any("nextn." in tensor.name for tensor in found) else []


def has_usable_head(header: GgufHeader) -> bool:
    """Whether the first head can be computed, for a model that can go back behind a guess."""
    kind, count = _KINDS.get(header.architecture), _count(header)
    if kind is None or not 0 < count < (header.block_count or 0):
        return False
    if any(f"{header.architecture}.{key}" in header.metadata for key in kind.unknown_keys):
        return False
    names = {tensor.name for tensor in header.tensors}
    layer = (header.block_count or 0) - count
    needed = {f"blk.{layer}.{name}.weight" for name in (*_ENTRANCE, *kind.tensors)}
    return needed <= names and (count == 1 or kind.may_be_several)


def _count(header: GgufHeader) -> int:
    return header.own_integer(_COUNT) or 0
