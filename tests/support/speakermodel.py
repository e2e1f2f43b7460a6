"""A model whose weights are made so that it says what it is told to, token by token."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from olmkit.engine.gguf.header import read_header
from olmkit.engine.gguf.writer import GgmlType, OutputTensor, write_gguf

WIDTH, INNER = 64, 8
NORMAL = 1
"""The type of an ordinary token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """What a model says after a token: pieces of printable ASCII, each another, and no more."""

    after: str
    pieces: Sequence[str]
    endless: bool = False
    """Begins anew after the last piece."""


def write_speaker(path: Path, model: Path, template: str, sayings: Sequence[Saying]) -> Path:
    """A model with the vocabulary of `model`, which is one of bytes, and a context of 32k.

    Its one layer adds nothing, so that the last token alone decides about the next. Pieces that the
    vocabulary lacks become tokens, which no text that is read turns into: its merges stay as they
    are. What follows any other token is random.
    """
    header = read_header(model)
    keys = [key for key in header.metadata if key.startswith("tokenizer.ggml.")]
    known = {key: header.metadata[key] for key in keys}
    tokens = [str(token) for token in header.read_array("tokenizer.ggml.tokens")]
    kinds = [int(kind) for kind in header.read_array("tokenizer.ggml.token_type")]
    numbers = {token: number for number, token in enumerate(tokens)}
    end = header.integer("tokenizer.ggml.eos_token_id")
    assert end is not None
    followers: dict[int, int] = {}
    for saying in sayings:
        pieces = [numbers.setdefault(_spell(piece), len(numbers)) for piece in saying.pieces]
        said = [numbers[_spell(saying.after)], *pieces, pieces[0] if saying.endless else end]
        for token, follower in pairwise(said):
            assert followers.setdefault(token, follower) == follower, saying
    kinds += [NORMAL] * (len(numbers) - len(tokens))

    random = np.random.default_rng(7)
    embedding = random.normal(size=(len(numbers), WIDTH)).astype(np.float32)
    output = random.normal(scale=0.1, size=embedding.shape).astype(np.float32)
    for token, follower in followers.items():
        output[follower] += embedding[token]
    tensors = {"token_embd": embedding, "output": output}
    tensors |= {f"blk.0.attn_{name}": _nothing(WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
    tensors |= {f"blk.0.ffn_{name}": _nothing(INNER, WIDTH) for name in ("gate", "up")}
    tensors["blk.0.ffn_down"] = _nothing(WIDTH, INNER)
    norms = ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")
    tensors |= {name: np.ones(WIDTH, np.float32) for name in norms}
    metadata = {
        "general.architecture": "llama",
        "general.name": "Tiny Speaker",
        "llama.context_length": 32768,
        "llama.embedding_length": WIDTH,
        "llama.block_count": 1,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": 1,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        **{key: value for key, value in known.items() if isinstance(value, bool | int | str)},
        "tokenizer.ggml.tokens": list(numbers),
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": [str(pair) for pair in header.read_array("tokenizer.ggml.merges")],
        "tokenizer.chat_template": template,
    }
    write_gguf(path, metadata, [_tensor(name, values) for name, values in tensors.items()])
    return path


def _spell(text: str) -> str:
    """Printable ASCII, blanks and line feeds as vocabularies of bytes spell them."""
    return text.replace(" ", "\u0120").replace("\n", "\u010a")


def _nothing(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


def _tensor(name: str, values: NDArray[np.float32]) -> OutputTensor:
    return OutputTensor(
        name=f"{name}.weight",
        type=GgmlType.F32,
        shape=values.shape,
        blocks=lambda: iter([values]),
    )
