"""Which tokenizer a decoder's checkpoint has."""

from olmkit.engine.create.convert.checkpoint import Checkpoint
from olmkit.engine.create.convert.tokenizers.bpe import byte_level_bpe
from olmkit.engine.create.convert.tokenizers.byte_fallback import byte_fallback_bpe
from olmkit.engine.create.convert.tokenizers.sentencepiece import sentencepiece
from olmkit.engine.create.convert.tokenizers.special import special_tokens
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.writer import Metadata


def decoder_vocabulary(
    checkpoint: Checkpoint, size: int, *, trusts_flags: bool = False
) -> Metadata:
    """The keys of a sentencepiece or BPE tokenizer with `size` tokens.

    tokenizer.model wins over tokenizer.json where both are there and the tokenizer's class is
    not a BPE's. `trusts_flags`: added tokens that look special without being marked so are
    plain ones.

    Raises:
        ModelNotCreatable: no tokenizer, an invalid one, or a kind that llama.cpp does not have.
    """
    if "tokenizer.model" in checkpoint and not _is_gpt2(checkpoint):
        metadata = sentencepiece(checkpoint, size, trusts_flags=trusts_flags).metadata()
    elif "tokenizer.json" not in checkpoint:
        raise ModelNotCreatable(
            "tokenizer.json and tokenizer.model are missing: a model needs one of them"
        )
    elif _falls_back_to_bytes(checkpoint):
        metadata = byte_fallback_bpe(checkpoint, size)
    else:
        metadata = byte_level_bpe(checkpoint, size)
    return metadata | special_tokens(checkpoint, size=size)


def _is_gpt2(checkpoint: Checkpoint) -> bool:
    kind = checkpoint.find_object("tokenizer_config.json").get("tokenizer_class")
    return kind in ("GPT2Tokenizer", "GPT2TokenizerFast") and "tokenizer.json" in checkpoint


def _falls_back_to_bytes(checkpoint: Checkpoint) -> bool:
    model = checkpoint.find_object("tokenizer.json").get("model")
    return isinstance(model, dict) and model.get("byte_fallback") is True
