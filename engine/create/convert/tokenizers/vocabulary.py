"""The list of tokens, their types and scores, whatever the tokenizer behind it."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from olmkit.engine.create.convert.checkpoint import Checkpoint
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.writer import Metadata

MAX_TOKENS: Final = 1024 * 1024
"""The largest vocabulary known has 262,208 (Gemma 3)."""
SPACE_MARK: Final = "\u2581"
"""Sentencepiece's stand-in for a space."""


ROLES: Final = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


class TokenType(enum.IntEnum):
    """llama.cpp's token types, include/llama.h."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Tokens in order of id."""

    model: str
    """`tokenizer.ggml.model`: the algorithm."""
    pre: str
    """`tokenizer.ggml.pre`: llama.cpp's name of the pre-tokenizer."""
    tokens: list[str]
    types: list[TokenType]
    scores: list[float] | None = None

    def metadata(self) -> Metadata:
        """The keys that hold the vocabulary itself."""
        result: Metadata = {
            "tokenizer.ggml.model": self.model,
            "tokenizer.ggml.pre": self.pre,
            "tokenizer.ggml.tokens": self.tokens,
        }
        if self.scores is not None:
            result["tokenizer.ggml.scores"] = self.scores
        result["tokenizer.ggml.token_type"] = [int(kind) for kind in self.types]
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedToken:
    """A token added beside the model's own vocabulary."""

    id: int
    text: str
    is_special: bool


def check_size(size: int) -> int:
    """`size`, when it is a sane vocabulary size.

    Raises:
        ModelNotCreatable: it is not.
    """
    if not 0 < size <= MAX_TOKENS:
        raise ModelNotCreatable(f"config.json: vocab_size {size} is out of range")
    return size


def json_tokens(checkpoint: Checkpoint) -> list[AddedToken]:
    """Added tokens of tokenizer.json.

    Raises:
        ModelNotCreatable: an entry of the wrong form.
    """
    entries = checkpoint.find_object("tokenizer.json").get("added_tokens")
    return [
        _added(entry, entry.get("id") if isinstance(entry, dict) else None)
        for entry in (entries if isinstance(entries, list) else [])
    ]


def decoder_tokens(checkpoint: Checkpoint) -> list[AddedToken]:
    """Added tokens of tokenizer_config.json.

    Raises:
        ModelNotCreatable: an entry of the wrong form.
    """
    entries = checkpoint.find_object("tokenizer_config.json").get("added_tokens_decoder")
    return [
        _added(entry, int(key) if key.isascii() and key.isdigit() and len(key) < 10 else None)
        for key, entry in (entries.items() if isinstance(entries, dict) else ())
    ]


def named_tokens(checkpoint: Checkpoint) -> set[str]:
    """Texts of the tokens that tokenizer_config.json names for a role, all of them special."""
    config = checkpoint.find_object("tokenizer_config.json")
    more = config.get("additional_special_tokens")
    entries = [config.get(f"{role}_token") for role in ROLES]
    entries += more if isinstance(more, list) else []
    return {name for entry in entries if (name := token_name(entry))}


def _added(entry: Any, token_id: Any) -> AddedToken:
    text = entry.get("content") if isinstance(entry, dict) else None
    if type(token_id) is not int or not 0 <= token_id < MAX_TOKENS or not isinstance(text, str):
        raise ModelNotCreatable(f"tokenizer has an invalid added token: {str(entry)[:200]}")
    return AddedToken(id=token_id, text=text, is_special=entry.get("special") is True)


def token_name(entry: Any) -> str | None:
    """The text of a token named in tokenizer_config.json, which is a string or an object."""
    if isinstance(entry, Mapping):
        entry = entry.get("content")
    return entry if isinstance(entry, str) and entry else None


def seems_special(text: str) -> bool:
    """Whether a token not marked as special is one all the same.

    Source: llama.cpp, conversion/base.py, does_token_look_special.
    """
    return (
        text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (text.startswith("<|") and text.endswith("|>"))
        or (text.startswith("<｜") and text.endswith("｜>"))
        or (text.startswith("<unused") and text.endswith(">"))
    )


def from_ids(
    checkpoint: Checkpoint, ids: Mapping[str, int], size: int
) -> tuple[list[str], list[TokenType]]:
    """Tokens and types for a vocabulary given as text to id; holes become unused tokens.

    Raises:
        ModelNotCreatable: an id outside the vocabulary.
    """
    tokens = [f"[PAD{index}]" for index in range(check_size(size))]
    types = [TokenType.UNUSED] * size
    for text, token_id in ids.items():
        if not 0 <= token_id < size:
            raise ModelNotCreatable(
                f"tokenizer: token {text[:80]!r} has id {token_id}, the model has {size} tokens"
            )
        tokens[token_id], types[token_id] = text, TokenType.NORMAL
    for name in named_tokens(checkpoint) & ids.keys():
        types[ids[name]] = TokenType.CONTROL
    for added in json_tokens(checkpoint) + decoder_tokens(checkpoint):
        if added.id >= size:
            raise ModelNotCreatable(
                f"tokenizer: token {added.text[:80]!r} has id {added.id}, "
                f"the model has {size} tokens"
            )
        if added.is_special or seems_special(added.text):
            tokens[added.id], types[added.id] = added.text, TokenType.CONTROL
        else:
            text = added.text.replace(SPACE_MARK, " ")
            tokens[added.id], types[added.id] = text, TokenType.USER_DEFINED
    return tokens, types


def model_ids(checkpoint: Checkpoint, kind: str) -> dict[str, int]:
    """`model.vocab` of tokenizer.json, whose `model.type` must be `kind`.

    Raises:
        ModelNotCreatable: no such tokenizer, or ids that are no integers.
    """
    model = checkpoint.find_object("tokenizer.json").get("model")
    if not isinstance(model, dict) or model.get("type", kind) != kind:
        found = model.get("type") if isinstance(model, dict) else None
        raise ModelNotCreatable(f"tokenizer.json holds no {kind} tokenizer but {found}")
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or not all(type(item) is int for item in vocab.values()):
        raise ModelNotCreatable("tokenizer.json: model.vocab is no mapping of tokens to ids")
    return vocab
