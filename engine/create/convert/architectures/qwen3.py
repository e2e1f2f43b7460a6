"""Qwen 3: Qwen 2 with norms on queries and keys instead of biases."""

from collections.abc import Mapping
from typing import ClassVar

from olmkit.engine.create.convert.architectures.decoder import Decoder
from olmkit.engine.create.convert.architectures.qwen2 import Qwen2
from olmkit.engine.gguf.writer import Metadata

_DEFAULT_HEAD_LENGTH = 128


class Qwen3(Qwen2):
    """Qwen3ForCausalLM and Qwen3Model."""

    name = "qwen3"
    classes = ("Qwen3ForCausalLM", "Qwen3Model")
    layer_parts: ClassVar[Mapping[str, str]] = {
        **Decoder.layer_parts,
        "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm",
    }

    @property
    def head_length(self) -> int:
        """Width of one head, which does not follow from the model's."""
        return self._head_length(_DEFAULT_HEAD_LENGTH)

    def parameters(self) -> Metadata:
        """Qwen 2's keys, always with the width of heads."""
        return super().parameters() | self.head_lengths()
