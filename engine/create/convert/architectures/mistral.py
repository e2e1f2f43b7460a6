"""Mistral: Llama's architecture with defaults of its own."""

from olmkit.engine.create.convert.architectures.llama import Llama


class Mistral(Llama):
    """MistralForCausalLM.

    The sliding window of Mistral 7B v0.1 is not written: llama.cpp has none for `llama`.
    """

    classes = ("MistralForCausalLM",)
    context_tokens = 131072

    @property
    def kv_head_count(self) -> int:
        """Heads of keys and values; transformers assumes 8 here."""
        return self.config.integer("num_key_value_heads", default=8)
