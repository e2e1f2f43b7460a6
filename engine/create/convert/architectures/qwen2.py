"""Qwen 2 and 2.5, as generators and as embedding models."""

from typing import ClassVar

from olmkit.engine.create.convert.architectures.bert import pooling_type
from olmkit.engine.create.convert.architectures.decoder import Decoder
from olmkit.engine.create.convert.tokenizers.detect import decoder_vocabulary
from olmkit.engine.gguf.writer import Metadata


class Qwen2(Decoder):
    """Qwen2ForCausalLM and Qwen2Model."""

    name = "qwen2"
    classes: ClassVar[tuple[str, ...]] = ("Qwen2ForCausalLM", "Qwen2Model")
    context_tokens = 32768

    def parameters(self) -> Metadata:
        """The decoder's keys; pooling for embedding models."""
        result = super().parameters()
        if self.config.find("head_dim") is not None:
            result |= self.head_lengths()
        if pooling := pooling_type(self.checkpoint):
            result["pooling_type"] = pooling
        return result

    def vocabulary(self) -> Metadata:
        """A byte-level BPE."""
        return decoder_vocabulary(self.checkpoint, self.config.integer("vocab_size"))

    def simplify(self, name: str) -> str | None:
        """The names of a bare model without their missing `model.`."""
        return name if name.startswith(("model.", "lm_head.")) else f"model.{name}"
