"""A GGUF file of random weights, written with nothing but Python: the proof needs no download.

Two layers of 256 values, whose tensors have the element types of common quantizations: each has
kernels of its own, and those of the processor's matrix units take no others.
Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

_WIDTH: Final = 256
_INNER: Final = 512
_LAYERS: Final = 2
_TOKENS: Final = 259
"""Unknown, beginning, end, and one token a byte."""
_ALIGNMENT: Final = 32
_UINT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _INT32 = 4, 6, 7, 8, 9, 5
_CONTROL, _UNKNOWN, _BYTE = 3, 2, 6

_Blocks = Callable[[random.Random, float], bytes]


def _q4_0(source: random.Random, deviation: float) -> bytes:
    return struct.pack("<e", deviation / 4.6) + source.randbytes(16)


def _q8_0(source: random.Random, deviation: float) -> bytes:
    return struct.pack("<e", deviation / 74) + source.randbytes(32)


def _q4_k(source: random.Random, deviation: float) -> bytes:
    scale = deviation / 258
    return struct.pack("<ee", scale, scale * 7.5) + source.randbytes(140)


def _q6_k(source: random.Random, deviation: float) -> bytes:
    return source.randbytes(208) + struct.pack("<e", deviation / 1367)


def _f16(source: random.Random, deviation: float) -> bytes:
    return struct.pack("<e", source.gauss(0, deviation))


def _ones(_: random.Random, __: float) -> bytes:
    return struct.pack("<f", 1)


_TYPES: Final[dict[str, tuple[int, int, _Blocks]]] = {
    "f32": (0, 1, _ones),
    "f16": (1, 1, _f16),
    "q4_0": (2, 32, _q4_0),
    "q8_0": (8, 32, _q8_0),
    "q4_k": (12, 256, _q4_k),
    "q6_k": (14, 256, _q6_k),
}
"""ggml's number of a type, the values of a block, and a random block."""

_LAYER: Final = (
    ("attn_norm", "f32", _WIDTH, 1),
    ("attn_q", "q4_0", _WIDTH, _WIDTH),
    ("attn_k", "q8_0", _WIDTH, _WIDTH),
    ("attn_v", "q6_k", _WIDTH, _WIDTH),
    ("attn_output", "q4_k", _WIDTH, _WIDTH),
    ("ffn_norm", "f32", _WIDTH, 1),
    ("ffn_gate", "q4_0", _WIDTH, _INNER),
    ("ffn_up", "q4_k", _WIDTH, _INNER),
    ("ffn_down", "q6_k", _INNER, _WIDTH),
)


def write_tiny_model(path: Path) -> None:
    """Writes the model, about a megabyte, the same bytes each time."""
    tensors = [
        ("token_embd.weight", "f16", _WIDTH, _TOKENS),
        ("output_norm.weight", "f32", _WIDTH, 1),
        ("output.weight", "q8_0", _WIDTH, _TOKENS),
    ]
    for layer in range(_LAYERS):
        tensors += [(f"blk.{layer}.{name}.weight", *rest) for name, *rest in _LAYER]  # type: ignore[misc]
    source = random.Random(7)
    data, table = bytearray(), bytearray()
    for name, kind, columns, rows in tensors:
        number, values, block = _TYPES[kind]
        sizes = (columns,) if kind == "f32" else (columns, rows)
        table += _string(name) + struct.pack(
            f"<I{len(sizes)}QIQ", len(sizes), *sizes, number, len(data)
        )
        deviation = columns**-0.5
        data += b"".join(block(source, deviation) for _ in range(columns * rows // values))
        data += bytes(-len(data) % _ALIGNMENT)
    pairs = list(_metadata())
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(pairs)) + b"".join(pairs) + table
    path.write_bytes(header + bytes(-len(header) % _ALIGNMENT) + data)


def _metadata() -> Iterator[bytes]:
    heads = 4
    yield _pair("general.architecture", _STRING, _string("llama"))
    for name, value in (
        ("context_length", 128),
        ("block_count", _LAYERS),
        ("embedding_length", _WIDTH),
        ("feed_forward_length", _INNER),
        ("attention.head_count", heads),
        ("attention.head_count_kv", heads),
        ("rope.dimension_count", _WIDTH // heads),
    ):
        yield _pair(f"llama.{name}", _UINT32, struct.pack("<I", value))
    yield _pair("llama.attention.layer_norm_rms_epsilon", _FLOAT32, struct.pack("<f", 1e-5))
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL] + [_BYTE] * 256
    yield _pair("tokenizer.ggml.model", _STRING, _string("llama"))
    yield _array("tokenizer.ggml.tokens", _STRING, b"".join(map(_string, texts)))
    yield _array("tokenizer.ggml.scores", _FLOAT32, bytes(4 * _TOKENS))
    yield _array("tokenizer.ggml.token_type", _INT32, struct.pack(f"<{_TOKENS}i", *kinds))
    yield _pair("tokenizer.ggml.bos_token_id", _UINT32, struct.pack("<I", 1))
    yield _pair("tokenizer.ggml.eos_token_id", _UINT32, struct.pack("<I", 2))
    yield _pair("tokenizer.ggml.add_bos_token", _BOOL, b"\0")


def _pair(key: str, kind: int, value: bytes) -> bytes:
    return _string(key) + struct.pack("<I", kind) + value


def _array(key: str, kind: int, values: bytes) -> bytes:
    return _pair(key, _ARRAY, struct.pack("<IQ", kind, _TOKENS) + values)


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw
