"""Phi 3, 3.5 and 4: fused attention and feed-forward matrices, long rotary factors."""

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from olmkit.engine.create.convert.architectures.decoder import Decoder
from olmkit.engine.create.convert.elements import constant_tensor
from olmkit.engine.create.convert.tokenizers.detect import decoder_vocabulary
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.writer import Metadata, OutputTensor


class Phi3(Decoder):
    """Phi3ForCausalLM."""

    name = "phi3"
    classes = ("Phi3ForCausalLM",)
    layer_parts: ClassVar[Mapping[str, str]] = {
        **Decoder.layer_parts,
        "self_attn.qkv_proj": "attn_qkv",
        "mlp.gate_up_proj": "ffn_up",
    }
    rms_epsilon = 1e-5
    context_tokens = 4096

    @property
    def _trained_tokens(self) -> int:
        return self.rope.integer("original_max_position_embeddings", default=4096)

    @property
    def _rope_length(self) -> int:
        share = self.rope.number("partial_rotary_factor", default=1.0)
        return int(share * self.embedding_length) // self.head_count

    def parameters(self) -> Metadata:
        """The decoder's keys; a sliding window of 0 tells Phi 4 from the others."""
        result = super().parameters()
        result.pop("rope.scaling.type", None)
        result["rope.scaling.original_context_length"] = self._trained_tokens
        result["rope.dimension_count"] = self._rope_length
        result["attention.sliding_window"] = self.config.integer("sliding_window", default=0)
        if self._factors("long_factor"):
            result["rope.scaling.attn_factor"] = self._attention_factor()
        return result

    def vocabulary(self) -> Metadata:
        """Llama's sentencepiece with added tokens, or a BPE (Phi 4)."""
        return decoder_vocabulary(
            self.checkpoint, self.config.integer("vocab_size"), trusts_flags=True
        )

    def extra_tensors(self) -> list[OutputTensor]:
        """One factor a frequency for long and for short contexts."""
        long, short = self._factors("long_factor"), self._factors("short_factor")
        if not long:
            return []
        if len(long) != len(short) or len(long) * 2 != self._rope_length:
            raise ModelNotCreatable(
                f"config.json: rope_scaling needs {self._rope_length // 2} long and short "
                f"factors, has {len(long)} and {len(short)}"
            )
        return [
            constant_tensor("rope_factors_long.weight", np.array(long, np.float32)),
            constant_tensor("rope_factors_short.weight", np.array(short, np.float32)),
        ]

    def _factors(self, name: str) -> list[float]:
        return self.rope.numbers(name)

    def _attention_factor(self) -> float:
        """What attention is multiplied with to make up for the stretched positions."""
        trained = self._trained_tokens
        context = self.config.integer("max_position_embeddings", default=self.context_tokens)
        scale = context / max(1, trained)
        kind = self.rope.text("rope_type", default="")
        if kind not in ("su", "longrope", "yarn"):
            raise ModelNotCreatable(f"config.json: unsupported rope_scaling type {kind[:80]!r}")
        if scale <= 1.0 or trained <= 1:
            return 1.0
        if kind == "yarn":
            return 0.1 * math.log(scale) + 1.0
        return math.sqrt(1 + math.log(scale) / math.log(trained))
