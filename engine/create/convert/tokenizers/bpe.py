"""Byte-level BPE, as of GPT-2 and its descendants, from tokenizer.json."""

from typing import Any

from olmkit.engine.create.convert.checkpoint import Checkpoint
from olmkit.engine.create.convert.tokenizers.pretokenizer import pretokenizer_name
from olmkit.engine.create.convert.tokenizers.vocabulary import Vocabulary, from_ids, model_ids
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.writer import Metadata

_SPACE_IN_MERGE = "\u0120"
"""A space as byte-level BPE writes it: merges are stored with a plain space between their parts."""


def byte_level_bpe(checkpoint: Checkpoint, size: int) -> Metadata:
    """Vocabulary and merges.

    Raises:
        ModelNotCreatable: an invalid tokenizer, or one whose pre-tokenizer llama.cpp lacks.
    """
    tokenizer = checkpoint.find_object("tokenizer.json")
    tokens, types = from_ids(checkpoint, model_ids(checkpoint, "BPE"), size)
    vocabulary = Vocabulary(
        model="gpt2", pre=pretokenizer_name(tokenizer), tokens=tokens, types=types
    )
    return vocabulary.metadata() | {
        "tokenizer.ggml.merges": [
            " ".join(part.replace(" ", _SPACE_IN_MERGE) for part in pair)
            for pair in read_merges(tokenizer)
        ]
    }


def read_merges(tokenizer: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs to merge, most important first.

    Both forms are read: `"a b"` and, since transformers 4.45, `["a", "b"]`.

    Raises:
        ModelNotCreatable: there are none, or one is of another form.
    """
    merges = tokenizer["model"].get("merges")
    if not isinstance(merges, list) or not merges:
        raise ModelNotCreatable("tokenizer.json: model.merges is missing or empty")
    return [_pair(merge) for merge in merges]


def _pair(merge: Any) -> tuple[str, str]:
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if (
        not isinstance(parts, list)
        or len(parts) != 2
        or not all(isinstance(part, str) and part for part in parts)
    ):
        raise ModelNotCreatable(f"tokenizer.json: {str(merge)[:80]!r} is no merge of two tokens")
    return parts[0], parts[1]
