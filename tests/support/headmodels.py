"""Tiny GGUFs with a head that guesses further tokens (MTP), of each kind that is used.

Each token's likeliest next one is the next byte, for the head and, without noise, for the model;
what the model's layers add to that disagrees with the head more with more of it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from gguf import ExpertGatingFuncType

from support.randommodel import VOCABULARY, TensorWriter

_WIDTH: Final = 128
_HEADS: Final = 4
_HEAD_SIZE: Final = 32
_EXPERTS: Final = 2
_RANK: Final = 32
_ROPE: Final = 16
_WINDOW: Final = 64
_INDEXED: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """What the layers of an architecture have."""

    norm: str = "ffn_norm"
    """Before the feed-forward part; empty: it takes what attention takes."""
    attention: str = "split"
    """Or `fused`, or `latent`."""
    has_query_norms: bool = False
    has_mixture: bool = True
    """In the head; the model's own layers have none."""
    has_shared_expert: bool = True
    slides: bool = False
    has_indexer: bool = False


SHAPES: Final = {
    "cohere2moe": _Shape(norm="", slides=True, has_shared_expert=False),
    "deepseek2": _Shape(attention="latent"),
    "deepseek32": _Shape(attention="latent", has_indexer=True),
    "glm-dsa": _Shape(attention="latent", has_indexer=True),
    "glm4moe": _Shape(norm="post_attention_norm"),
    "hy_v3": _Shape(has_query_norms=True, has_mixture=False),
    "mimo2": _Shape(attention="fused", has_mixture=False, slides=True),
    "step35": _Shape(has_query_norms=True, has_mixture=False, slides=True),
}
"""By architecture."""


def write_head(
    path: Path,
    *,
    architecture: str = "glm4moe",
    layers: int = 2,
    width: int = _WIDTH,
    heads: int = 1,
    noise: float = 0.0,
    looks_at_states: bool = False,
) -> Path:
    """A model with `layers` of its own, and `heads` behind them.

    `looks_at_states`: heads know only the state before a token, and not the token. Their first
    guess is right for that, each further one is what they said before.
    """
    shape = SHAPES[architecture]
    writer = TensorWriter(path, architecture, layers=layers + heads, width=width, follows=True)
    _add_numbers(writer, shape, layers=layers, heads=heads, width=width)
    for layer in range(layers + heads):
        block, is_head = f"blk.{layer}.", layer >= layers
        scale = 0.0 if is_head else noise
        writer.fill(block + "attn_norm.weight", width)
        if shape.norm:
            writer.fill(f"{block}{shape.norm}.weight", width)
        _add_attention(writer, shape, block, width=width, scale=scale)
        if is_head:
            # The token's vector and the state before it go in, of which only one counts.
            parts = np.eye(width), np.zeros((width, width))
            entrance = np.hstack(parts[::-1] if looks_at_states else parts)
            if looks_at_states:
                writer.add_following(block + "nextn.shared_head_head.weight", 2)
            writer.gguf.add_tensor(block + "nextn.eh_proj.weight", entrance.astype(np.float32))
            writer.fill(block + "nextn.enorm.weight", width)
            writer.fill(block + "nextn.hnorm.weight", width)
        if is_head and shape.has_mixture:
            _add_mixture(writer, shape, block, width=width)
        else:
            writer.add(block + "ffn_gate.weight", width, width)
            writer.add(block + "ffn_up.weight", width, width)
            writer.add(block + "ffn_down.weight", width, width, scale=scale)
    writer.close()
    return path


def _add_numbers(
    writer: TensorWriter, shape: _Shape, *, layers: int, heads: int, width: int
) -> None:
    gguf, is_latent = writer.gguf, shape.attention == "latent"
    gguf.add_nextn_predict_layers(heads)
    gguf.add_vocab_size(VOCABULARY)
    gguf.add_feed_forward_length(width)
    gguf.add_head_count(_HEADS)
    gguf.add_head_count_kv(1)
    gguf.add_key_length(_RANK + _ROPE if is_latent else _HEAD_SIZE)
    gguf.add_value_length(_RANK if is_latent else _HEAD_SIZE)
    gguf.add_rope_dimension_count(_ROPE if is_latent else _HEAD_SIZE)
    gguf.add_layer_norm_rms_eps(1e-5)
    gguf.add_layer_norm_eps(1e-5)
    gguf.add_logit_scale(1.0)
    gguf.add_leading_dense_block_count(layers)
    gguf.add_expert_count(_EXPERTS)
    gguf.add_expert_used_count(1)
    gguf.add_expert_shared_count(int(shape.has_shared_expert))
    gguf.add_expert_gating_func(ExpertGatingFuncType.SIGMOID)
    gguf.add_expert_feed_forward_length(width)
    gguf.add_expert_shared_feed_forward_length(width)
    if is_latent:
        gguf.add_q_lora_rank(_RANK)
        gguf.add_kv_lora_rank(_RANK)
        gguf.add_key_length_mla(_HEAD_SIZE)
        gguf.add_value_length_mla(_HEAD_SIZE)
    if shape.slides:
        gguf.add_sliding_window(_WINDOW)
        gguf.add_sliding_window_pattern([layer % 2 == 1 for layer in range(layers + heads)])
    if shape.has_indexer:
        gguf.add_indexer_head_count(_HEADS)
        gguf.add_indexer_key_length(_INDEXED)
        gguf.add_indexer_top_k(_WINDOW)


def _add_attention(
    writer: TensorWriter, shape: _Shape, block: str, *, width: int, scale: float
) -> None:
    inner = _HEADS * _HEAD_SIZE
    writer.add(block + "attn_output.weight", width, inner, scale=scale)
    match shape.attention:
        case "split":
            writer.add(block + "attn_q.weight", inner, width)
            writer.add(block + "attn_k.weight", _HEAD_SIZE, width)
            writer.add(block + "attn_v.weight", _HEAD_SIZE, width)
        case "fused":
            writer.add(block + "attn_qkv.weight", inner + 2 * _HEAD_SIZE, width)
        case _:
            writer.fill(block + "attn_q_a_norm.weight", _RANK)
            writer.fill(block + "attn_kv_a_norm.weight", _RANK)
            writer.add(block + "attn_q_a.weight", _RANK, width)
            writer.add(block + "attn_q_b.weight", inner, _RANK)
            writer.add(block + "attn_kv_a_mqa.weight", _RANK + _ROPE, width)
            writer.add(block + "attn_k_b.weight", _HEADS, _RANK, _HEAD_SIZE - _ROPE)
            writer.add(block + "attn_v_b.weight", _HEADS, _HEAD_SIZE, _RANK)
    if shape.has_query_norms:
        writer.fill(block + "attn_q_norm.weight", _HEAD_SIZE)
        writer.fill(block + "attn_k_norm.weight", _HEAD_SIZE)
    if shape.has_indexer:
        writer.fill(block + "indexer.k_norm.weight", _INDEXED)
        writer.fill(block + "indexer.k_norm.bias", _INDEXED, value=0)
        writer.add(block + "indexer.proj.weight", _HEADS, width)
        writer.add(block + "indexer.attn_k.weight", _INDEXED, width)
        writer.add(block + "indexer.attn_q_b.weight", _HEADS * _INDEXED, _RANK)


def _add_mixture(writer: TensorWriter, shape: _Shape, block: str, *, width: int) -> None:
    """Experts that add nothing."""
    writer.add(block + "ffn_gate_inp.weight", _EXPERTS, width)
    if shape.has_shared_expert:
        writer.fill(block + "exp_probs_b.bias", _EXPERTS, value=0)
        writer.add(block + "ffn_gate_shexp.weight", width, width)
        writer.add(block + "ffn_up_shexp.weight", width, width)
        writer.fill(block + "ffn_down_shexp.weight", width, width, value=0)
    writer.add(block + "ffn_gate_exps.weight", _EXPERTS, width, width)
    writer.add(block + "ffn_up_exps.weight", _EXPERTS, width, width)
    writer.fill(block + "ffn_down_exps.weight", _EXPERTS, width, width, value=0)
