"""Tiny Hugging Face checkpoints with made-up weights: the same bytes on every machine.

`python -m support.checkpoints DIRECTORY` (with `tests` on the path) writes them all. Weights come
from SHAKE-128 of the tensor's name, tokenizers from a few words.
"""

import hashlib
import json
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shapes = dict[str, tuple[int, ...]]
Json = dict[str, Any]

WORDS = ["the", "of", "and", "in", "hello", "world", "token", "model", "test", "er", "ing"]


# --- safetensors ----------------------------------------------------------------------------


def values(name: str, shape: tuple[int, ...], scale: float = 0.05) -> NDArray[np.float32]:
    """Floats of all 24 bits of precision between -scale and scale."""
    count = int(np.prod(shape, dtype=np.int64))
    raw = np.frombuffer(hashlib.shake_128(name.encode()).digest(4 * count), "<u4")
    return ((raw.astype(np.float64) / 2**31 - 1.0) * scale).astype(np.float32).reshape(shape)


def stored(array: NDArray[np.float32], dtype: str) -> Array:
    """The values as safetensors stores them, bfloat16 by cutting bits off."""
    if dtype == "BF16":
        return (np.ascontiguousarray(array).view(np.uint32) >> np.uint32(16)).astype("<u2")
    return array.astype({"F32": "<f4", "F16": "<f2", "F64": "<f8"}[dtype])


def write_safetensors(path: Path, tensors: Mapping[str, tuple[str, Array]]) -> None:
    header: Json = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, array) in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for _, array in tensors.values():
            file.write(array.tobytes())


def write_weights(directory: Path, shapes: Shapes, dtype: str, parts: int = 1) -> None:
    """All tensors, norms in float32 around one; in several parts with an index."""
    tensors = {}
    for name, shape in shapes.items():
        array = values(name, shape) + (1.0 if "norm" in name.lower() else 0.0)
        tensors[name] = (dtype, stored(array.astype(np.float32), dtype))
    if parts == 1:
        write_safetensors(directory / "model.safetensors", tensors)
        return
    index: Json = {"metadata": {}, "weight_map": {}}
    for part in range(parts):
        name = f"model-{part + 1:05}-of-{parts:05}.safetensors"
        chosen = dict(list(tensors.items())[part::parts])
        write_safetensors(directory / name, chosen)
        index["weight_map"] |= dict.fromkeys(chosen, name)
    write_json(directory / "model.safetensors.index.json", index)


def write_json(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


# --- tokenizers -----------------------------------------------------------------------------


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


# --- models ---------------------------------------------------------------------------------

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
WIDTH, HIDDEN, LAYERS, HEADS, KV_HEADS, CONTEXT = 32, 64, 2, 4, 2, 512


def _decoder_shapes(
    vocabulary: int, *, head: int = WIDTH // HEADS, prefix: str = "model.", head_name: str = ""
) -> Shapes:
    shapes: Shapes = {f"{prefix}embed_tokens.weight": (vocabulary, WIDTH)}
    for layer in range(LAYERS):
        at = f"{prefix}layers.{layer}."
        shapes |= {
            f"{at}input_layernorm.weight": (WIDTH,),
            f"{at}self_attn.q_proj.weight": (HEADS * head, WIDTH),
            f"{at}self_attn.k_proj.weight": (KV_HEADS * head, WIDTH),
            f"{at}self_attn.v_proj.weight": (KV_HEADS * head, WIDTH),
            f"{at}self_attn.o_proj.weight": (WIDTH, HEADS * head),
            f"{at}post_attention_layernorm.weight": (WIDTH,),
            f"{at}mlp.gate_proj.weight": (HIDDEN, WIDTH),
            f"{at}mlp.up_proj.weight": (HIDDEN, WIDTH),
            f"{at}mlp.down_proj.weight": (WIDTH, HIDDEN),
        }
    shapes[f"{prefix}norm.weight"] = (WIDTH,)
    if head_name:
        shapes[head_name] = (vocabulary, WIDTH)
    return shapes


def _config(kind: str, name: str, size: int, **more: Any) -> Json:
    return {
        "architectures": [name],
        "model_type": kind,
        "vocab_size": size,
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "hidden_act": "silu",
        **more,
    }


def llama(directory: Path) -> None:
    """Llama 3.1's shape: BPE, scaled rotary frequencies, bfloat16 in two parts."""
    size = byte_level_bpe(
        directory,
        _LLAMA3,
        ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"],
        ignore_merges=True,
        bos="<|begin_of_text|>",
        config={
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot_id|>",
            "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
        },
    )
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    more = {"rope_scaling": scaling, "bos_token_id": size - 4, "eos_token_id": [size - 3, size - 2]}
    write_json(
        directory / "config.json",
        _config("llama", "LlamaForCausalLM", size, tie_word_embeddings=False, **more),
    )
    write_json(
        directory / "generation_config.json",
        {"temperature": 0.6, "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.1},
    )
    write_weights(directory, _decoder_shapes(size, head_name="lm_head.weight"), "BF16", parts=2)


def mistral(directory: Path) -> None:
    """Mistral 7B's shape: sentencepiece, float16, padded vocabulary."""
    size = sentencepiece_model(directory / "tokenizer.model") + 5
    write_json(
        directory / "tokenizer_config.json",
        {
            "added_tokens_decoder": {
                str(index): {key: value for key, value in added(index, text).items() if key != "id"}
                for index, text in enumerate(["<unk>", "<s>", "</s>"])
            },
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "tokenizer_class": "LlamaTokenizer",
            "chat_template": [
                {"name": "default", "template": "{{ messages[0]['content'] }}"},
                {"name": "tool-use", "template": "{{ tools }}"},
            ],
        },
    )
    more = {"bos_token_id": 1, "eos_token_id": 2, "sliding_window": 256}
    write_json(
        directory / "config.json",
        _config("mistral", "MistralForCausalLM", size, tie_word_embeddings=False, **more),
    )
    write_weights(directory, _decoder_shapes(size, head_name="lm_head.weight"), "F16")


def qwen2(directory: Path) -> None:
    """Qwen 2.5's shape: biases, tied embeddings, YaRN, old form of merges."""
    size = byte_level_bpe(
        directory,
        _QWEN2,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        config={
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "add_bos_token": False,
        },
        old_merges=True,
    )
    (directory / "chat_template.jinja").write_text("{{ messages }}<|im_end|>\n")
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
    more = {"rope_scaling": scaling, "bos_token_id": size - 4, "eos_token_id": size - 2}
    write_json(
        directory / "config.json",
        _config("qwen2", "Qwen2ForCausalLM", size + 3, tie_word_embeddings=True, **more),
    )
    shapes = _decoder_shapes(size + 3)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}.self_attn."
        shapes |= {f"{at}q_proj.bias": (WIDTH,)}
        shapes |= {f"{at}{part}_proj.bias": (KV_HEADS * WIDTH // HEADS,) for part in "kv"}
    write_weights(directory, shapes, "BF16")


def qwen3(directory: Path) -> None:
    """Qwen 3's shape: norms on queries and keys, wide heads, float32."""
    size = byte_level_bpe(
        directory,
        _QWEN2,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        config={"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    )
    more = {"head_dim": 16, "eos_token_id": size - 2, "rope_scaling": None}
    write_json(
        directory / "config.json",
        _config("qwen3", "Qwen3ForCausalLM", size, tie_word_embeddings=True, **more),
    )
    shapes = _decoder_shapes(size, head=16)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}.self_attn."
        shapes |= {f"{at}q_norm.weight": (16,), f"{at}k_norm.weight": (16,)}
    write_weights(directory, shapes, "F32")


def gemma3(directory: Path) -> None:
    """Gemma 3's multimodal shape: nested configuration, vision weights to leave out."""
    size = sentencepiece_model(directory / "tokenizer.model")
    write_json(
        directory / "tokenizer_config.json",
        {
            "added_tokens_decoder": {
                "1": {key: value for key, value in added(1, "<s>").items() if key != "id"},
                str(size): {"content": "<image_soft_token>", "special": True},
                str(size - 1): {"content": "\u2581\u2581", "special": False},
            },
            "add_bos_token": True,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "tokenizer_class": "GemmaTokenizer",
        },
    )
    text = _config(
        "gemma3_text",
        "Gemma3ForCausalLM",
        size,
        head_dim=16,
        sliding_window=64,
        query_pre_attn_scalar=16,
    )
    del text["architectures"], text["rope_theta"], text["max_position_embeddings"]
    text["rope_scaling"] = {"factor": 8.0, "rope_type": "linear"}
    write_json(
        directory / "config.json",
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3",
            "bos_token_id": 1,
            "eos_token_id": [2],
            "text_config": text,
        },
    )
    prefix = "language_model.model."
    shapes = _decoder_shapes(size + 7, head=16, prefix=prefix)
    for layer in range(LAYERS):
        at = f"{prefix}layers.{layer}."
        shapes |= {
            f"{at}self_attn.q_norm.weight": (16,),
            f"{at}self_attn.k_norm.weight": (16,),
            f"{at}pre_feedforward_layernorm.weight": (WIDTH,),
            f"{at}post_feedforward_layernorm.weight": (WIDTH,),
        }
    shapes |= {
        "multi_modal_projector.mm_input_projection_weight": (8, WIDTH),
        "vision_tower.vision_model.encoder.layers.0.layer_norm1.weight": (8,),
    }
    write_weights(directory, shapes, "BF16")


def phi3(directory: Path) -> None:
    """Phi 3's shape: fused matrices, sentencepiece with added tokens, long rotary factors."""
    pieces = sentencepiece_model(directory / "tokenizer.model")
    texts = ["<|endoftext|>", "<|assistant|>", "<|end|>"]
    tokens = [added(pieces + i, text, special=i != 1) for i, text in enumerate(texts)]
    write_json(
        directory / "tokenizer_config.json",
        {
            "added_tokens_decoder": {
                str(token["id"]): {key: token[key] for key in token if key != "id"}
                for token in tokens
            },
            "add_bos_token": False,
            "add_eos_token": False,
            "bos_token": "<s>",
            "eos_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
            "unk_token": "<unk>",
            "tokenizer_class": "LlamaTokenizer",
        },
    )
    write_json(directory / "added_tokens.json", {token["content"]: token["id"] for token in tokens})
    size = pieces + len(texts) + 2
    half = WIDTH // HEADS // 2
    write_json(
        directory / "config.json",
        _config(
            "phi3",
            "Phi3ForCausalLM",
            size,
            original_max_position_embeddings=128,
            sliding_window=64,
            tie_word_embeddings=False,
            bos_token_id=1,
            eos_token_id=pieces,
            pad_token_id=pieces,
            rope_scaling={
                "type": "longrope",
                "long_factor": [1.0 + i / 4 for i in range(half)],
                "short_factor": [1.0 + i / 8 for i in range(half)],
            },
        ),
    )
    shapes = _decoder_shapes(size, head_name="lm_head.weight")
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        for part in ("self_attn.q", "self_attn.k", "self_attn.v", "mlp.gate", "mlp.up"):
            del shapes[f"{at}{part}_proj.weight"]
        rows = (HEADS + 2 * KV_HEADS) * WIDTH // HEADS
        shapes[f"{at}self_attn.qkv_proj.weight"] = (rows, WIDTH)
        shapes[f"{at}mlp.gate_up_proj.weight"] = (2 * HIDDEN, WIDTH)
    write_weights(directory, shapes, "F32")


def bert(directory: Path) -> None:
    """A BERT with a head of pre-training and TensorFlow's names of norms, CLS pooling."""
    size = wordpiece(directory)
    write_json(
        directory / "config.json",
        {
            "_name_or_path": "some-lab/tiny-bert-v1.5",
            "architectures": ["BertForMaskedLM"],
            "model_type": "bert",
            "vocab_size": size,
            "hidden_size": WIDTH,
            "intermediate_size": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "max_position_embeddings": CONTEXT,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "pad_token_id": 0,
        },
    )
    write_json(
        directory / "modules.json",
        [  # type: ignore[arg-type]
            {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ],
    )
    (directory / "1_Pooling").mkdir()
    write_json(
        directory / "1_Pooling" / "config.json",
        {"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": True},
    )
    shapes: Shapes = {
        "bert.embeddings.word_embeddings.weight": (size, WIDTH),
        "bert.embeddings.position_embeddings.weight": (CONTEXT, WIDTH),
        "bert.embeddings.token_type_embeddings.weight": (2, WIDTH),
        "bert.embeddings.LayerNorm.gamma": (WIDTH,),
        "bert.embeddings.LayerNorm.beta": (WIDTH,),
        "bert.pooler.dense.weight": (WIDTH, WIDTH),
        "bert.pooler.dense.bias": (WIDTH,),
        "cls.predictions.bias": (size,),
        "cls.predictions.transform.dense.weight": (WIDTH, WIDTH),
    }
    for layer in range(LAYERS):
        at = f"bert.encoder.layer.{layer}."
        for part in ("attention.self.query", "attention.self.key", "attention.self.value"):
            shapes |= {f"{at}{part}.weight": (WIDTH, WIDTH), f"{at}{part}.bias": (WIDTH,)}
        shapes |= {
            f"{at}attention.output.dense.weight": (WIDTH, WIDTH),
            f"{at}attention.output.dense.bias": (WIDTH,),
            f"{at}attention.output.LayerNorm.gamma": (WIDTH,),
            f"{at}attention.output.LayerNorm.beta": (WIDTH,),
            f"{at}intermediate.dense.weight": (HIDDEN, WIDTH),
            f"{at}intermediate.dense.bias": (HIDDEN,),
            f"{at}output.dense.weight": (WIDTH, HIDDEN),
            f"{at}output.dense.bias": (WIDTH,),
            f"{at}output.LayerNorm.gamma": (WIDTH,),
            f"{at}output.LayerNorm.beta": (WIDTH,),
        }
    write_weights(directory, shapes, "F32")


CHECKPOINTS: dict[str, Callable[[Path], None]] = {
    "bert": bert,
    "gemma3": gemma3,
    "llama": llama,
    "mistral": mistral,
    "phi3": phi3,
    "qwen2": qwen2,
    "qwen3": qwen3,
}
"""A writer per architecture; it fills an empty directory."""

PRE_TOKENIZERS = {"llama": "llama-bpe", "qwen2": "qwen2", "qwen3": "qwen2"}
"""llama.cpp's name where the tokenizer is a byte-level BPE."""


def write_checkpoint(name: str, directory: Path) -> Path:
    """The checkpoint `name` in a new directory."""
    directory.mkdir(parents=True)
    CHECKPOINTS[name](directory)
    return directory


if __name__ == "__main__":
    for each in CHECKPOINTS:
        write_checkpoint(each, Path(sys.argv[1]) / each)
