"""What Llama-like decoders have in common: names of parts, hyperparameters, rotary scaling."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from olmkit.engine.create.convert.architecture import Architecture
from olmkit.engine.create.convert.hyperparameters import Hyperparameters
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.writer import Metadata

MAX_HEAD_LENGTH: Final = 65536
_LOCAL_THETA: Final = ("rope_local_base_freq", "local_rope_theta", "rope_local_theta")
_YARN_EXTRAS: Final = {
    "yarn_ext_factor": ("extrapolation_factor",),
    "yarn_attn_factor": ("attention_factor", "attn_factor"),
    "yarn_beta_fast": ("beta_fast",),
    "yarn_beta_slow": ("beta_slow",),
}


class Decoder(Architecture):
    """A causal decoder with RMS norms, rotary embeddings and gated feed-forward layers."""

    layer_parts: ClassVar[Mapping[str, str]] = {
        "input_layernorm": "attn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    other_parts: ClassVar[Mapping[str, str]] = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
    }
    rope_theta: ClassVar[float] = 10000.0
    """What transformers assumes when config.json does not say."""
    rms_epsilon: ClassVar[float] = 1e-6
    context_tokens: ClassVar[int | None] = None

    @property
    def head_count(self) -> int:
        """Attention heads."""
        return self._positive("num_attention_heads", "n_head", "n_heads")

    @property
    def kv_head_count(self) -> int:
        """Heads of keys and values."""
        return self.config.integer("num_key_value_heads", "n_kv_heads", default=self.head_count)

    @property
    def embedding_length(self) -> int:
        """Width of the model."""
        return self._positive("hidden_size", "n_embd", "dim")

    @property
    def head_length(self) -> int:
        """Width of one head."""
        return self._head_length(self.embedding_length // self.head_count)

    def _head_length(self, default: int) -> int:
        value = self.config.integer("head_dim", default=default)
        if not 0 < value <= MAX_HEAD_LENGTH:
            raise ModelNotCreatable(f"config.json: head_dim {value} is out of range")
        return value

    def _positive(self, *names: str) -> int:
        value = self.config.integer(*names)
        if not value:
            raise ModelNotCreatable(f"config.json: {names[0]} is zero")
        return value

    @property
    def is_tied(self) -> bool:
        """What config.json says; transformers then puts the embedding in the place of a head.

        Source: https://github.com/huggingface/transformers, `tie_weights` of modeling_utils.py.
        """
        return self.config.find("tie_word_embeddings") is True

    @property
    def rope(self) -> Hyperparameters:
        """Rotary parameters of layers with full attention.

        Both forms are read: `rope_parameters` of today's transformers, per kind of layer or not,
        and `rope_scaling` beside `rope_theta` of before.
        """
        nested = self.config.object("rope_parameters", "rope_scaling")
        if isinstance(nested.find("full_attention"), dict):
            return nested.object("full_attention")
        values: dict[str, Any] = {}
        for name in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
            if (value := self.config.find(name)) is not None:
                values[name] = value
        values |= {key: value for key, value in nested.values.items() if value is not None}
        values.setdefault("rope_type", values.get("type"))
        return Hyperparameters(values)

    @property
    def local_rope_theta(self) -> float | None:
        """Rotary base of sliding-window layers, where they have their own."""
        nested = self.config.object("rope_parameters").object("sliding_attention")
        if nested.find("rope_theta") is not None:
            return nested.number("rope_theta")
        return self.config.number(*_LOCAL_THETA) if self.config.find(*_LOCAL_THETA) else None

    def parameters(self) -> Metadata:
        """Keys as llama.cpp's converter writes them for every decoder."""
        config = self.config
        result: Metadata = {
            "block_count": self.block_count,
            "context_length": config.integer(
                "max_position_embeddings", "n_ctx", default=self.context_tokens
            ),
            "embedding_length": self.embedding_length,
            "feed_forward_length": config.integer("intermediate_size", "hidden_dim"),
            "attention.head_count": self.head_count,
            "attention.head_count_kv": self.kv_head_count,
        }
        result |= self.rope_scaling()
        result["rope.freq_base"] = self.rope.number("rope_theta", default=self.rope_theta)
        if (local := self.local_rope_theta) is not None:
            result["rope.freq_base_swa"] = local
        result["attention.layer_norm_rms_epsilon"] = config.number(
            "rms_norm_eps", "norm_eps", default=self.rms_epsilon
        )
        return result

    def rope_scaling(self) -> Metadata:
        """How the rotary embedding is stretched past the length of training.

        `llama3` scaling is a tensor instead (`Llama`); dynamic scaling has no counterpart in
        llama.cpp, which runs such models unscaled.
        """
        rope = self.rope
        kind = rope.text("rope_type", default="default")
        if kind in ("su", "longrope"):
            return {"rope.scaling.type": "longrope"}
        if kind not in ("linear", "yarn") or rope.find("factor") is None:
            return {}
        result: Metadata = {
            "rope.scaling.type": kind,
            "rope.scaling.factor": rope.number("factor"),
        }
        if kind == "yarn":
            # As transformers: the length that the model has, where none of training is said.
            result["rope.scaling.original_context_length"] = rope.integer(
                "original_max_position_embeddings",
                default=self.config.integer(
                    "max_position_embeddings", "n_ctx", default=self.context_tokens
                ),
            )
            for key, names in _YARN_EXTRAS.items():
                if rope.find(*names) is not None:
                    result[f"rope.scaling.{key}"] = rope.number(*names)
        return result

    def head_lengths(self) -> Metadata:
        """Width of a key's and a value's head."""
        return {
            "attention.key_length": self.head_length,
            "attention.value_length": self.head_length,
        }
