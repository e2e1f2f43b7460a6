"""BERT encoders: embeddings and cross-encoder classifiers with a WordPiece vocabulary."""

from collections.abc import Mapping
from typing import ClassVar, Final

from olmkit.engine.create.convert.architecture import Architecture
from olmkit.engine.create.convert.checkpoint import Checkpoint
from olmkit.engine.create.convert.tokenizers.special import special_tokens
from olmkit.engine.create.convert.tokenizers.wordpiece import wordpiece
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.writer import Metadata

_POOLING: Final = {"mean": 1, "cls": 2, "lasttoken": 3}
"""llama.cpp's `llama_pooling_type`, by sentence-transformers' names."""
_RANK: Final = 4
_HEADS: Final = ("cls.predictions", "cls.seq_relationship", "embeddings.position_ids")
"""Heads of pre-training and a buffer, which the model does without."""


class Bert(Architecture):
    """BertModel and its kin."""

    name = "bert"
    classes = ("BertModel", "BertForMaskedLM", "BertForSequenceClassification")
    layer_parts: ClassVar[Mapping[str, str]] = {
        "attention.self.query": "attn_q",
        "attention.self.key": "attn_k",
        "attention.self.value": "attn_v",
        "attention.output.dense": "attn_output",
        "attention.output.LayerNorm": "attn_output_norm",
        "intermediate.dense": "ffn_up",
        "output.dense": "ffn_down",
        "output.LayerNorm": "layer_output_norm",
    }
    other_parts: ClassVar[Mapping[str, str]] = {
        "embeddings.word_embeddings": "token_embd",
        "embeddings.token_type_embeddings": "token_types",
        "embeddings.position_embeddings": "position_embd",
        "embeddings.LayerNorm": "token_embd_norm",
        "pooler.dense": "cls",
        "classifier": "cls.output",
    }
    always_f32 = frozenset({"position_embd", "token_types"})

    @property
    def _classes(self) -> int:
        """Classes of a classifier; 0 for a plain encoder."""
        classifier = self.sources.get("classifier.weight")
        return classifier.rows if classifier else 0

    @property
    def _labels(self) -> list[str]:
        """Names of the classes; as many as there are, else llama.cpp does not load the file."""
        named = self.config.find("id2label")
        names = [named.get(str(i)) for i in range(self._classes)] if isinstance(named, dict) else []
        texts = [name for name in names if isinstance(name, str)]
        if len(texts) == self._classes:
            return texts
        return [f"LABEL_{index}" for index in range(self._classes)]

    def parameters(self) -> Metadata:
        """Keys as llama.cpp's converter writes them."""
        config = self.config
        result: Metadata = {
            "block_count": self.block_count,
            "context_length": config.integer("max_position_embeddings"),
            "embedding_length": config.integer("hidden_size"),
            "feed_forward_length": config.integer("intermediate_size"),
            "attention.head_count": config.integer("num_attention_heads"),
            "attention.layer_norm_epsilon": config.number("layer_norm_eps", default=1e-12),
            "attention.causal": False,
        }
        if pooling := _RANK if self._classes else pooling_type(self.checkpoint):
            result["pooling_type"] = pooling
        if self._classes:
            result["classifier.output_labels"] = self._labels
        return result

    def vocabulary(self) -> Metadata:
        """A WordPiece vocabulary."""
        size = self.config.find("vocab_size")
        vocabulary = wordpiece(self.checkpoint, self.config.integer("vocab_size") if size else None)
        count = self.config.integer("type_vocab_size", default=2)
        return (
            {"tokenizer.ggml.token_type_count": count}
            | vocabulary.metadata()
            | special_tokens(self.checkpoint, size=len(vocabulary.tokens))
        )

    def simplify(self, name: str) -> str | None:
        """Without `bert.` and heads of pre-training; TensorFlow's names of norms replaced.

        The pooler belongs to classifiers. llama.cpp's converter drops it there too, so that its
        files score texts differently from the model.
        """
        name = name.removeprefix("bert.")
        for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
            if name.endswith(old):
                name = name.removesuffix(old) + new
        if name.startswith("pooler.") and not self._classes:
            return None
        return None if name.startswith(_HEADS) else name


def pooling_type(checkpoint: Checkpoint) -> int | None:
    """How token vectors become one, as sentence-transformers' modules say; None if they do not.

    Raises:
        ModelNotCreatable: a way of pooling that llama.cpp does not have.
    """
    modules = checkpoint.json("modules.json") if "modules.json" in checkpoint else []
    for module in modules if isinstance(modules, list) else []:
        if not isinstance(module, dict) or not str(module.get("type")).endswith("Pooling"):
            continue
        name = f"{module.get('path')}/config.json"
        if name not in checkpoint:
            raise ModelNotCreatable(f"{name[:200]} is missing: modules.json names it")
        config = checkpoint.find_object(name)
        for way in ("mean_tokens", "cls_token", "lasttoken"):
            if config.get(f"pooling_mode_{way}") is True:
                return _POOLING[way.removesuffix("_tokens").removesuffix("_token")]
        mode = config.get("pooling_mode")
        if mode in _POOLING:
            return _POOLING[mode]
        raise ModelNotCreatable(f"{name[:200]}: only mean, cls and last-token pooling is supported")
    return None
