"""Tiny tokenizers in Hugging Face's files, made of a few words."""

import struct
from pathlib import Path

from support.weights import Json, write_json

WORDS = ["the", "of", "and", "in", "hello", "world", "token", "model", "test", "er", "ing"]


def byte_characters() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in order of byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    table = {byte: chr(byte) for byte in plain}
    table |= {byte: chr(256 + index) for index, byte in enumerate(rest)}
    return [table[byte] for byte in range(256)]


def bpe_parts(start: list[str], space: str) -> tuple[dict[str, int], list[list[str]]]:
    """Vocabulary and merges that build `WORDS`, alone and after a space."""
    vocab = {token: index for index, token in enumerate(start)}
    merges: list[list[str]] = []
    for word in [*WORDS, *(space + word for word in WORDS)]:
        left = word[0]
        for character in word[1:]:
            if left + character not in vocab:
                vocab[left + character] = len(vocab)
                merges.append([left, character])
            left += character
    return vocab, merges


def added(token_id: int, text: str, *, special: bool = True, normalized: bool = False) -> Json:
    return {
        "id": token_id,
        "content": text,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": normalized,
        "special": special,
    }


def byte_level_bpe(
    directory: Path,
    pattern: str,
    texts: list[str],
    *,
    ignore_merges: bool = False,
    config: Json | None = None,
    bos: str | None = None,
    old_merges: bool = False,
) -> int:
    """tokenizer.json of a GPT-2 descendant with `texts` as special tokens; its size."""
    vocab, merges = bpe_parts(byte_characters(), "\u0120")
    tokens = [added(len(vocab) + index, text) for index, text in enumerate(texts)]
    tokens.append(added(len(vocab) + len(texts), "<tool_call>", special=False))
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    split = {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    post: Json = {**level, "use_regex": False}
    if bos:
        post = {"type": "Sequence", "processors": [post, template(bos, tokens)]}
    write_json(
        directory / "tokenizer.json",
        {
            "version": "1.0",
            "added_tokens": tokens,
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [split, {**level, "use_regex": False}],
            },
            "post_processor": post,
            "decoder": {**level, "use_regex": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": ignore_merges,
                "vocab": vocab,
                "merges": [" ".join(pair) for pair in merges] if old_merges else merges,
            },
        },
    )
    write_json(
        directory / "tokenizer_config.json",
        {
            "added_tokens_decoder": {
                str(token["id"]): {key: token[key] for key in token if key != "id"}
                for token in tokens
            },
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            **(config or {}),
        },
    )
    return len(vocab) + len(tokens)


def template(bos: str, tokens: list[Json]) -> Json:
    """A post-processor that puts `bos` first."""
    (token_id,) = (token["id"] for token in tokens if token["content"] == bos)
    begin: Json = {"SpecialToken": {"id": bos, "type_id": 0}}
    sequence = [{"Sequence": {"id": name, "type_id": index}} for index, name in enumerate("AB")]
    return {
        "type": "TemplateProcessing",
        "single": [begin, sequence[0]],
        "pair": [begin, sequence[0], begin, sequence[1]],
        "special_tokens": {bos: {"id": bos, "ids": [token_id], "tokens": [bos]}},
    }


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, wire: int, payload: bytes) -> bytes:
    size = _varint(len(payload)) if wire == 2 else b""
    return _varint(number << 3 | wire) + size + payload


def sentencepiece_pieces() -> list[tuple[str, float, int]]:
    """Text, score and type: control tokens, bytes, characters, words."""
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    pieces += [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    characters = ["\u2581", *"abcdefghijklmnopqrstuvwxyz.,!?"]
    vocab, _ = bpe_parts(characters, "\u2581")
    merged = [token for token in vocab if len(token) > 1]
    for index, token in enumerate([*merged, *characters]):
        pieces.append((token, -float(index), 1))
    return [*pieces, ("<mask>", -500.0, 4), ("<spare>", -501.0, 5)]


def sentencepiece_model(path: Path) -> int:
    """tokenizer.model, encoded by hand; the number of its pieces."""
    pieces = sentencepiece_pieces()
    data = b""
    for text, score, kind in pieces:
        message = _field(1, 2, text.encode()) + _field(2, 5, struct.pack("<f", score))
        if kind != 1:
            message += _field(3, 0, _varint(kind))
        data += _field(1, 2, message)
    trainer = _field(3, 0, _varint(2)) + _field(35, 0, _varint(1))  # BPE, byte_fallback
    normalizer = _field(1, 2, b"identity") + _field(3, 0, _varint(1)) + _field(4, 0, _varint(0))
    path.write_bytes(data + _field(2, 2, trainer) + _field(3, 2, normalizer))
    return len(pieces)


def wordpiece(directory: Path) -> int:
    """tokenizer.json and tokenizer_config.json of an uncased BERT."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?"
    tokens = [*special, *letters, *(f"##{c}" for c in letters), *WORDS]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    cls: Json = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}
    sep: Json = {"SpecialToken": {"id": "[SEP]", "type_id": 0}}
    a, b = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
    write_json(
        directory / "tokenizer.json",
        {
            "version": "1.0",
            "added_tokens": [added(vocab[token], token) for token in special],
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": True,
                "handle_chinese_chars": True,
                "strip_accents": True,
                "lowercase": True,
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [cls, a, sep],
                "pair": [cls, a, sep, b, sep],
                "special_tokens": {
                    token: {"id": token, "ids": [vocab[token]], "tokens": [token]}
                    for token in ("[CLS]", "[SEP]")
                },
            },
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": vocab,
            },
        },
    )
    write_json(
        directory / "tokenizer_config.json",
        {
            "unk_token": "[UNK]",
            "sep_token": "[SEP]",
            "pad_token": "[PAD]",
            "cls_token": "[CLS]",
            "mask_token": "[MASK]",
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": True,
        },
    )
    return len(vocab)
