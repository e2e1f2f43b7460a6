"""Sentencepiece: tokenizer.model, read without the sentencepiece library.

Format: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

import math
from typing import Any, Final

from olmkit.engine.create.convert.checkpoint import Checkpoint
from olmkit.engine.create.convert.tokenizers.protobuf import fields
from olmkit.engine.create.convert.tokenizers.vocabulary import (
    MAX_TOKENS,
    SPACE_MARK,
    TokenType,
    Vocabulary,
    check_size,
    decoder_tokens,
    json_tokens,
    seems_special,
)
from olmkit.engine.errors import ModelNotCreatable

_FILE: Final = "tokenizer.model"
_PIECES, _TEXT, _SCORE, _TYPE = 1, 1, 2, 3
"""Field numbers of ModelProto and SentencePiece."""
_TYPES: Final = {
    1: TokenType.NORMAL,
    2: TokenType.UNKNOWN,
    3: TokenType.CONTROL,
    4: TokenType.NORMAL,  # user-defined pieces split like any other in llama.cpp
    5: TokenType.UNUSED,
    6: TokenType.BYTE,
}
_HOLE_SCORE: Final = -10000.0
_ADDED_SCORE: Final = -1000.0

Piece = tuple[str, float, TokenType]


def sentencepiece(checkpoint: Checkpoint, size: int, *, trusts_flags: bool = False) -> Vocabulary:
    """The pieces, then added tokens over them; holes are unused tokens.

    Added tokens come from added_tokens.json and tokenizer_config.json, those past `size` are
    left out; tokenizer.json only fills holes, unless `trusts_flags` (see
    `decoder_vocabulary`), which takes all its tokens as they are.

    Raises:
        ModelNotCreatable: the file is missing or invalid.
    """
    pieces = read_pieces(checkpoint.read(_FILE))
    hole = TokenType.UNUSED
    slots: list[Piece] = [(f"[PAD{i}]", _HOLE_SCORE, hole) for i in range(check_size(size))]
    slots[: len(pieces)] = pieces[:size]
    for text, token_id in _added_ids(checkpoint).items():
        if token_id < size:
            slots[token_id] = (text, _ADDED_SCORE, TokenType.USER_DEFINED)
    for token in decoder_tokens(checkpoint):
        if token.id < size:
            slots[token.id] = _added(token.text, token.is_special, trusts_flags)
    for token in json_tokens(checkpoint):
        if token.id < size and (trusts_flags or slots[token.id][2] is hole):
            slots[token.id] = _added(token.text, token.is_special, trusts_flags)
    return Vocabulary(
        model="llama",
        pre="default",
        tokens=[text for text, _, _ in slots],
        scores=[score for _, score, _ in slots],
        types=[kind for _, _, kind in slots],
    )


def _added(text: str, is_special: bool, trusts_flags: bool) -> Piece:
    if is_special or (seems_special(text) and not trusts_flags):
        return text, _ADDED_SCORE, TokenType.CONTROL
    plain = text if trusts_flags else text.replace(SPACE_MARK, " ")
    return plain, _ADDED_SCORE, TokenType.USER_DEFINED


def _added_ids(checkpoint: Checkpoint) -> dict[str, int]:
    ids = checkpoint.find_object("added_tokens.json")
    if not all(type(value) is int and value >= 0 for value in ids.values()):
        raise ModelNotCreatable("added_tokens.json is no mapping of tokens to ids")
    return ids


def read_pieces(data: bytes) -> list[Piece]:
    """Text, score and type of every piece of a sentencepiece model, in order of id.

    Raises:
        ModelNotCreatable: not a sentencepiece model.
    """
    try:
        pieces = [
            _piece(value)
            for number, value in fields(data)
            if number == _PIECES and isinstance(value, bytes)
        ]
    except ValueError as error:
        raise ModelNotCreatable(f"{_FILE} is not a sentencepiece model: {error}") from error
    if not 0 < len(pieces) <= MAX_TOKENS:
        raise ModelNotCreatable(f"{_FILE} is not a sentencepiece model: {len(pieces)} pieces")
    return pieces


def _piece(data: bytes) -> Piece:
    values: dict[int, Any] = dict(fields(data))
    text, score, kind = values.get(_TEXT, b""), values.get(_SCORE, 0.0), values.get(_TYPE, 1)
    if not isinstance(text, bytes) or not isinstance(score, float) or kind not in _TYPES:
        raise ValueError("a piece has fields of the wrong type")
    if not math.isfinite(score):
        raise ValueError("a piece has no finite score")
    return text.decode(), score, _TYPES[kind]
