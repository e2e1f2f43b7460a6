"""WordPiece: BERT's tokenizer, from tokenizer.json or vocab.txt."""

from olmkit.engine.create.convert.checkpoint import Checkpoint
from olmkit.engine.create.convert.tokenizers.vocabulary import (
    SPACE_MARK,
    TokenType,
    Vocabulary,
    from_ids,
    model_ids,
)

_PREFIX = "##"
_SPECIAL = ("[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]")
"""Special whether or not a file says so."""


def wordpiece(checkpoint: Checkpoint, size: int | None) -> Vocabulary:
    """The vocabulary in llama.cpp's form: word starts are marked, continuations bare.

    `pre` is what llama.cpp's converter writes for the vocabulary of bert-base-uncased; its
    loader ignores the key for WordPiece.

    Raises:
        ModelNotCreatable: neither file is there, or one is invalid.
    """
    if "tokenizer.json" in checkpoint:
        ids = model_ids(checkpoint, "WordPiece")
    else:
        lines = checkpoint.text("vocab.txt").split("\n")
        ids = {line.rstrip("\r"): index for index, line in enumerate(lines) if line}
    tokens, types = from_ids(checkpoint, ids, size or len(ids))
    for name in _SPECIAL:
        if name in ids:
            types[ids[name]] = TokenType.CONTROL
    marked = [_marked(text, kind) for text, kind in zip(tokens, types, strict=True)]
    return Vocabulary(model="bert", pre="jina-v2-en", tokens=marked, types=types)


def _marked(text: str, kind: TokenType) -> str:
    if kind is TokenType.CONTROL:
        return text
    return text.removeprefix(_PREFIX) if text.startswith(_PREFIX) else SPACE_MARK + text
