"""Gemma 3: the text model, alone or taken out of the multimodal one."""

from collections.abc import Mapping
from typing import ClassVar, Final

from olmkit.engine.create.convert.architectures.decoder import Decoder
from olmkit.engine.create.convert.elements import Source
from olmkit.engine.create.convert.tokenizers.detect import decoder_vocabulary
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.writer import Metadata

_VISION: Final = ("vision_tower.", "vision_model.", "multi_modal_projector.")


class Gemma3(Decoder):
    """Gemma3ForCausalLM and the text part of Gemma3ForConditionalGeneration."""

    name = "gemma3"
    classes = ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration")
    layer_parts: ClassVar[Mapping[str, str]] = {
        **Decoder.layer_parts,
        "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm",
        "post_attention_layernorm": "post_attention_norm",
        "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm",
    }
    rope_theta = 1_000_000.0
    context_tokens = 131072

    @property
    def head_count(self) -> int:
        """Attention heads."""
        return self.config.integer("num_attention_heads", default=8)

    @property
    def kv_head_count(self) -> int:
        """Heads of keys and values."""
        return self.config.integer("num_key_value_heads", default=4)

    @property
    def head_length(self) -> int:
        """Width of one head."""
        return self._head_length(256)

    @property
    def local_rope_theta(self) -> float | None:
        """Rotary base of sliding-window layers."""
        return super().local_rope_theta or 10000.0

    def parameters(self) -> Metadata:
        """The decoder's keys and the sliding window."""
        if self.config.find("attn_logit_softcapping") is not None:
            raise ModelNotCreatable("config.json: attn_logit_softcapping is Gemma 2's")
        result = super().parameters() | self.head_lengths()
        if cap := self.config.number("final_logit_softcapping", default=0.0):
            result["final_logit_softcapping"] = cap
        if self.config.find("sliding_window_pattern") != 1:
            window = self.config.integer("sliding_window", default=4096)
            result["attention.sliding_window"] = window
        return result

    @property
    def _size(self) -> int:
        return self.config.integer("vocab_size", default=262208)

    def vocabulary(self) -> Metadata:
        """Sentencepiece, without a space put before the text."""
        result = decoder_vocabulary(self.checkpoint, self._size)
        return result | {"tokenizer.ggml.add_space_prefix": False}

    def simplify(self, name: str) -> str | None:
        """Without the wrappers of the multimodal model; None for its vision part."""
        name = name.replace("language_model.", "", 1)
        if name.removeprefix("model.").startswith(_VISION):
            return None
        return name.removeprefix("model.") if name.startswith("model.lm_head.") else name

    def shift(self, part: str) -> float:
        """Gemma's norms multiply by one plus the weight."""
        return 1.0 if part.endswith("_norm") else 0.0

    def row_limit(self, part: str, tensor: Source) -> int | None:
        """The embedding without rows past the vocabulary."""
        return min(self._size, tensor.rows) if part == "token_embd" else None
