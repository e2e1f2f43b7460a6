"""Llama: also what Mistral and many others are built as."""

import math
from typing import ClassVar, Final

import numpy as np

from olmkit.engine.create.convert.architectures.decoder import Decoder
from olmkit.engine.create.convert.elements import constant_tensor
from olmkit.engine.create.convert.tokenizers.detect import decoder_vocabulary
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.writer import Metadata, OutputTensor

_CODE_LLAMA_SIZE: Final = 32016
_CODE_LLAMA_TOKENS: Final = {"prefix": 32007, "suffix": 32008, "middle": 32009, "eot": 32010}
_WITHOUT_BOS_SIZE: Final = 49152
"""Granite and SmolLM: their tokenizers have a BOS token and do not put it."""


class Llama(Decoder):
    """LlamaForCausalLM."""

    name = "llama"
    classes: ClassVar[tuple[str, ...]] = ("LlamaForCausalLM", "LLaMAForCausalLM", "LlamaModel")
    context_tokens = 2048

    def parameters(self) -> Metadata:
        """The decoder's keys, vocabulary size and rotary width."""
        return (
            super().parameters()
            | self.head_lengths()
            | {
                "vocab_size": self.config.integer("vocab_size"),
                "rope.dimension_count": self.head_length,
            }
        )

    def vocabulary(self) -> Metadata:
        """Sentencepiece or BPE, with the exceptions that llama.cpp's converter knows."""
        size = self.config.integer("vocab_size")
        result = decoder_vocabulary(self.checkpoint, size)
        config = self.checkpoint.find_object("tokenizer_config.json")
        if isinstance(prefix := config.get("add_prefix_space"), bool):
            result["tokenizer.ggml.add_space_prefix"] = prefix
        if size == _CODE_LLAMA_SIZE:
            for kind, token_id in _CODE_LLAMA_TOKENS.items():
                result[f"tokenizer.ggml.{kind}_token_id"] = token_id
        if size == _WITHOUT_BOS_SIZE:
            result["tokenizer.ggml.add_bos_token"] = False
        return result

    def simplify(self, name: str) -> str | None:
        """LlamaModel's names without their missing `model.`."""
        return name if name.startswith(("model.", "lm_head.")) else f"model.{name}"

    def interleaved_heads(self, part: str) -> int | None:
        """Queries and keys."""
        return {"attn_q": self.head_count, "attn_k": self.kv_head_count}.get(part)

    def extra_tensors(self) -> list[OutputTensor]:
        """Llama 3.1's scaling, as one factor a frequency."""
        rope = self.rope
        if rope.text("rope_type", default="default") != "llama3":
            return []
        base = rope.positive("rope_theta", default=self.rope_theta)
        factor = rope.positive("factor", default=8.0)
        low = rope.positive("low_freq_factor", default=1.0)
        high = rope.positive("high_freq_factor", default=4.0)
        trained = rope.integer("original_max_position_embeddings", default=8192)
        if base < 1 or high <= low:
            raise ModelNotCreatable("config.json: rope_scaling of type llama3 makes no sense")
        factors = []
        for index in range(0, self.head_length, 2):
            # Rounded to float32 where transformers does; numpy's own power differs by processor.
            exponent = float(np.float32(index) / np.float32(self.head_length))
            frequency = float(np.float32(1.0) / np.float32(base**exponent))
            wavelength = 2 * math.pi / frequency
            if wavelength < trained / high:
                factors.append(1.0)
            elif wavelength > trained / low:
                factors.append(factor)
            else:
                smooth = (trained / wavelength - low) / (high - low)
                factors.append(1 / ((1 - smooth) / factor + smooth))
        return [constant_tensor("rope_freqs.weight", np.array(factors, np.float32))]
