"""What loading a model takes, from the header of its file and the load options.

Weights are exact (the tensor table), the KV cache is exact for the layer kinds below and else an
upper bound, compute buffers are a bound a little above what llama.cpp reports. All of it for
contexts as the runner makes them: one unified KV cache, sliding layers with small caches, one
output a sequence. Knows nothing of what is free, nor of which device takes what.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from olmkit.engine.gguf.draftheads import has_usable_head
from olmkit.engine.gguf.header import GgufHeader
from olmkit.engine.kvcachetypes import KV_CACHE_TYPES
from olmkit.engine.runner.loadoptions import HEAD_BATCH_TOKENS
from olmkit.engine.runner.protocol import LoadOptions

SLIDING_PATTERNS: Final = {
    "cohere2": 4,
    "exaone4": 4,
    "gemma-embedding": 6,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "llama4": 4,
    "olmo2": 4,
}
"""Of so many layers the last sees the whole context, the others a window, where the file does not
say. Source: llama.cpp, src/models/*.cpp, load_swa_pattern. Other architectures: none slides."""

_PROCESS_BYTES: Final = 34 * 2**20
_TOKEN_BYTES: Final = 212
_CARD_PROCESS_BYTES: Final = 96 * 2**20
_CELL_PADDING: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Bytes that a loaded model takes, by use."""

    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    process_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weights_bytes + self.kv_bytes + self.compute_bytes + self.process_bytes

    def beyond(self, other: "MemoryPlan") -> "MemoryPlan":
        """How much more than `other` this is, by use; less than nothing where it is less."""
        return MemoryPlan(
            weights_bytes=self.weights_bytes - other.weights_bytes,
            kv_bytes=self.kv_bytes - other.kv_bytes,
            compute_bytes=self.compute_bytes - other.compute_bytes,
            process_bytes=self.process_bytes - other.process_bytes,
        )

    def corrected(self, by: "MemoryPlan | None") -> "MemoryPlan":
        """This plan with what an exact one was `beyond` it; None: as it is."""
        if by is None:
            return self
        return MemoryPlan(
            weights_bytes=max(0, self.weights_bytes + by.weights_bytes),
            kv_bytes=max(0, self.kv_bytes + by.kv_bytes),
            compute_bytes=max(0, self.compute_bytes + by.compute_bytes),
            process_bytes=max(0, self.process_bytes + by.process_bytes),
        )


def process_bytes(vocabulary_tokens: int, *, uses_devices: bool = False) -> int:
    """What a runner takes of main memory beside weights and buffers: Python, libraries, the
    vocabulary and what is made of it for answers; more where it starts the drivers of devices.

    Source: resident memory after answers, measured with vocabularies of 259, 49k, 152k and 262k
    tokens: 33, 50, 85 and 70 MiB.
    """
    taken = _PROCESS_BYTES + _TOKEN_BYTES * vocabulary_tokens
    return max(taken, _CARD_PROCESS_BYTES) if uses_devices else taken


def plan_memory(
    header: GgufHeader,
    options: LoadOptions,
    *,
    draft: GgufHeader | None = None,
    extra_weights_bytes: int = 0,
) -> MemoryPlan:
    """What the model takes when it is loaded with `options`.

    `draft`: of the model that guesses for it, with a context of the same size;
    `extra_weights_bytes`: the files beside the weights, projector and adapters. A header that
    lacks a number counts it as nothing: llama.cpp itself says what is missing.
    """
    headers = [header] if draft is None or options.embedding else [header, draft]
    head = 0 if draft is not None else head_compute_bytes(header, options)
    return MemoryPlan(
        weights_bytes=sum(one.weights_bytes for one in headers) + extra_weights_bytes,
        kv_bytes=sum(kv_cache_bytes(one, options) for one in headers),
        compute_bytes=sum(compute_bytes(one, options) for one in headers) + head,
        process_bytes=process_bytes(header.vocabulary_tokens),
    )


def kv_cache_bytes(header: GgufHeader, options: LoadOptions) -> int:
    """Bytes of the KV cache and of recurrent states, over all layers."""
    return sum(kv_layer_bytes(header, options))


def kv_layer_bytes(header: GgufHeader, options: LoadOptions) -> list[int]:
    """The same by layer.

    A layer of full attention: context x KV heads x (key length + value length) x bytes of an
    element. A sliding layer: the same, with `window x sequences + batch` cells if that is less
    than the context. A layer without KV heads: its recurrent state for every sequence, in f32.
    Encoders have no cache.

    Source: llama.cpp, src/llama-kv-cache.cpp and -iswa.cpp (constructors), src/llama-hparams.cpp
    (n_embd_r, n_embd_s).
    """
    if header.metadata.get(f"{header.architecture}.attention.causal") is False:
        return [0] * (header.block_count or 0)
    heads = header.own_integer("attention.head_count") or 0
    head_length = (header.embedding_length or 0) // heads if heads else 0
    key_length = header.own_integer("attention.key_length") or head_length
    value_length = header.own_integer("attention.value_length") or head_length
    cache_type = KV_CACHE_TYPES.get(options.kv_cache_type)
    element_bytes = cache_type.element_bytes if cache_type else 4.0
    full_cells, sliding_cells = _cells(header, options)
    by_layer = []
    for layer in range(header.block_count or 0):
        kv_heads = _kv_heads(header, layer, heads)
        cells = sliding_cells if _is_sliding(header, layer) else full_cells
        if kv_heads:
            by_layer.append(int(cells * kv_heads * (key_length + value_length) * element_bytes))
        else:
            by_layer.append(options.sequences * _recurrent_bytes(header))
    return by_layer


def compute_bytes(header: GgufHeader, options: LoadOptions) -> int:
    """An upper bound on the buffers of one decode step.

    batch x (2 x feed-forward + 10 x embedding) floats, and the attention masks: batch x cells of
    f16. Without flash attention the scores, batch x context x heads floats, come on top.

    Source: measured over n_ctx 4k to 32k and n_batch 512 and 2048 with llama.cpp 0c1e57098: 1 to
    30 % over its own report for Llama, Gemma 3 and Qwen 2.
    """
    batch = options.batch_tokens
    widest = max(
        header.own_integer("feed_forward_length") or 0,
        (header.own_integer("expert_feed_forward_length") or 0)
        * (header.own_integer("expert_used_count") or 1),
    )
    full_cells, sliding_cells = _cells(header, options)
    total = 4 * batch * (2 * widest + 10 * (header.embedding_length or 0))
    total += 2 * batch * (full_cells + (sliding_cells if _window(header) else 0))
    if options.flash_attention is False:
        heads = header.own_integer("attention.head_count") or 0
        total += 4 * batch * full_cells * heads
    return total


def head_compute_bytes(header: GgufHeader, options: LoadOptions) -> int:
    """The same of the head that guesses further tokens, where there is one that can be used, with
    the states that it takes from a step of the model. Its layer counts as one of the model's.
    """
    if options.embedding or not has_usable_head(header):
        return 0
    batch_tokens = min(options.batch_tokens, HEAD_BATCH_TOKENS)
    of_head = msgspec.structs.replace(options, batch_tokens=batch_tokens)
    states_bytes = 4 * options.batch_tokens * (header.embedding_length or 0)
    return compute_bytes(header, of_head) + states_bytes


def _cells(header: GgufHeader, options: LoadOptions) -> tuple[int, int]:
    """Cells of a full and of a sliding layer's cache."""
    full = _padded(options.pool_tokens)
    sliding = _window(header) * options.sequences + options.batch_tokens
    return full, _padded(min(full, sliding))


def _padded(cells: int) -> int:
    return -(-cells // _CELL_PADDING) * _CELL_PADDING


def _window(header: GgufHeader) -> int:
    """Tokens that a sliding layer sees; 0: no layer slides."""
    if header.architecture == "llama4":
        return 8192  # chunks of this fixed length
    pattern = header.metadata.get(f"{header.architecture}.attention.sliding_window_pattern")
    if pattern is None and header.architecture not in SLIDING_PATTERNS:
        return 0
    return header.own_integer("attention.sliding_window") or 0


def _is_sliding(header: GgufHeader, layer: int) -> bool:
    if not _window(header):
        return False
    key = f"{header.architecture}.attention.sliding_window_pattern"
    pattern = header.metadata.get(key, SLIDING_PATTERNS.get(header.architecture))
    if isinstance(pattern, tuple):
        return layer < len(pattern) and bool(pattern[layer])
    if not isinstance(pattern, int) or pattern < 0:
        return False
    return pattern == 0 or layer % pattern < pattern - 1


def _kv_heads(header: GgufHeader, layer: int, heads: int) -> int:
    """KV heads of a layer: one number for all, a list by layer, or as many as there are heads."""
    value = header.metadata.get(f"{header.architecture}.attention.head_count_kv", heads)
    if isinstance(value, tuple):
        value = value[layer] if layer < len(value) else 0
    return value if isinstance(value, int) and value > 0 else 0


def _recurrent_bytes(header: GgufHeader) -> int:
    """The state of one sequence in one state-space layer."""
    inner = header.own_integer("ssm.inner_size") or 0
    state = header.own_integer("ssm.state_size") or 0
    groups = header.own_integer("ssm.group_count") or 0
    kernel = header.own_integer("ssm.conv_kernel") or 1
    return 4 * ((kernel - 1) * (inner + 2 * groups * state) + state * inner)
