"""Sentencepiece vocabularies that exist only as tokenizer.json: BPE with byte fallback.

Their merges come from the pieces' scores, so scores are made from the merges again: the piece
of the first merge scores best. llama.cpp's own converter gives all pieces one score, which
merges from the left whatever the vocabulary prefers.
"""

import re
from typing import Any, Final

from olmkit.engine.create.convert.checkpoint import Checkpoint
from olmkit.engine.create.convert.tokenizers.bpe import read_merges
from olmkit.engine.create.convert.tokenizers.vocabulary import (
    SPACE_MARK,
    TokenType,
    Vocabulary,
    from_ids,
    model_ids,
)
from olmkit.engine.gguf.writer import Metadata

_BYTE: Final = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_UNMERGED_SCORE: Final = -1e6
"""Below every merge's: such pieces are found as they stand or not at all."""


def byte_fallback_bpe(checkpoint: Checkpoint, size: int) -> Metadata:
    """The vocabulary, and whether a space is put before the text.

    Raises:
        ModelNotCreatable: an invalid tokenizer.
    """
    tokenizer = checkpoint.find_object("tokenizer.json")
    tokens, types = from_ids(checkpoint, model_ids(checkpoint, "BPE"), size)
    for index, text in enumerate(tokens):
        if types[index] is TokenType.NORMAL and _BYTE.fullmatch(text):
            types[index] = TokenType.BYTE
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(read_merges(tokenizer)):
        ranks.setdefault(left + right, rank)
    scores = [float(-ranks[text]) if text in ranks else _UNMERGED_SCORE for text in tokens]
    vocabulary = Vocabulary(model="llama", pre="default", tokens=tokens, types=types, scores=scores)
    return vocabulary.metadata() | {
        "tokenizer.ggml.add_space_prefix": _prepends_space(tokenizer.get("normalizer"))
        or _prepends_space(tokenizer.get("pre_tokenizer"))
    }


def _prepends_space(step: Any) -> bool:
    """Whether a normalizer or pre-tokenizer marks the start of the text as the start of a word."""
    if not isinstance(step, dict):
        return False
    match step.get("type"):
        case "Sequence":
            inner = step.get("normalizers") or step.get("pretokenizers")
            return isinstance(inner, list) and any(map(_prepends_space, inner))
        case "Prepend":
            return step.get("prepend") == SPACE_MARK
        case "Metaspace":
            scheme = step.get("prepend_scheme")
            return scheme != "never" if scheme else step.get("add_prefix_space") is not False
        case _:
            return False
