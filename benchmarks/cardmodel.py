"""A model as large as an 8B one, with random weights: speed depends on shapes, not on values."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import TokenType
from numpy.typing import NDArray

LAYERS: Final = 32
WIDTH: Final = 4096
INNER: Final = 14336
HEADS: Final = 32
KV_HEADS: Final = 8
VOCABULARY: Final = 128_256
"""The shape of Llama 3.1 8B."""

_BLOCK_VALUES: Final = 256


def write_8b(path: Path) -> Path:
    """Writes the model, 4.9 GB with the tensor types of Q4_K_M; `path` itself."""
    writer = gguf.GGUFWriter(path, "llama", use_temp_file=False)
    writer.add_context_length(131072)
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(500000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    _add_vocabulary(writer)
    source = np.random.Generator(np.random.SFC64(1))
    for name, rows, columns, kind in _tensors():
        if kind is Type.F32:
            writer.add_tensor(name, np.ones(columns, np.float32))
        else:
            writer.add_tensor(name, _random(source, rows, columns, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: gguf.GGUFWriter) -> None:
    """Bytes, and words of hexadecimal digits until the vocabulary is as large as a real one."""
    head = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = [f"{number:x} " for number in range(VOCABULARY - len(head))]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    kinds += [TokenType.BYTE] * 256 + [TokenType.NORMAL] * len(words)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(head + words)
    writer.add_token_scores([0.0] * len(head) + [-float(rank) for rank in range(len(words))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def _tensors() -> Iterator[tuple[str, int, int, Type]]:
    """Name, rows, columns and type of each tensor, as llama.cpp's quantizer mixes them."""
    yield "token_embd.weight", VOCABULARY, WIDTH, Type.Q4_K
    yield "output.weight", VOCABULARY, WIDTH, Type.Q6_K
    yield "output_norm.weight", 1, WIDTH, Type.F32
    narrow = WIDTH // HEADS * KV_HEADS
    for layer in range(LAYERS):
        eighth = LAYERS // 8
        is_finer = layer < eighth or layer >= 7 * eighth or (layer - eighth) % 3 == 2
        finer = Type.Q6_K if is_finer else Type.Q4_K
        for name, rows, columns, kind in (
            ("attn_norm", 1, WIDTH, Type.F32),
            ("attn_q", WIDTH, WIDTH, Type.Q4_K),
            ("attn_k", narrow, WIDTH, Type.Q4_K),
            ("attn_v", narrow, WIDTH, finer),
            ("attn_output", WIDTH, WIDTH, Type.Q4_K),
            ("ffn_norm", 1, WIDTH, Type.F32),
            ("ffn_gate", INNER, WIDTH, Type.Q4_K),
            ("ffn_up", INNER, WIDTH, Type.Q4_K),
            ("ffn_down", WIDTH, INNER, finer),
        ):
            yield f"blk.{layer}.{name}.weight", rows, columns, kind


def _random(source: np.random.Generator, rows: int, columns: int, kind: Type) -> NDArray[np.uint8]:
    """Random blocks whose values deviate by about one over the root of the columns."""
    block_bytes = 144 if kind is Type.Q4_K else 210
    count = rows * columns // _BLOCK_VALUES
    blocks = np.frombuffer(source.bytes(count * block_bytes), np.uint8).copy()
    blocks = blocks.reshape(count, block_bytes)
    deviation = 0.7 * columns**-0.5
    if kind is Type.Q4_K:
        blocks[:, 0:2] = _half(deviation / 258)
        blocks[:, 2:4] = _half(deviation / 258 * 7.5)
    else:
        blocks[:, 208:210] = _half(deviation / 1367)
    return blocks.reshape(rows, -1)


def _half(value: float) -> NDArray[np.uint8]:
    return np.array([value], np.float16).view(np.uint8)
