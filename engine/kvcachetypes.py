"""The element types that llama.cpp takes for the KV cache: the one table of them.

Source: https://github.com/ggml-org/llama.cpp/blob/master/ggml/include/ggml.h, `enum ggml_type`, and
ggml/src/ggml-common.h there, the block structs.
"""

from typing import Final, NamedTuple


class KvCacheType(NamedTuple):
    """One element type."""

    number: int
    """ggml's number of the type."""
    element_bytes: float
    """Bytes of one element, its share of the block's scale included."""


DEFAULT_KV_CACHE_TYPE: Final = "f16"
KV_CACHE_TYPES: Final = {
    "f32": KvCacheType(0, 4.0),
    "f16": KvCacheType(1, 2.0),
    "bf16": KvCacheType(30, 2.0),
    "q8_0": KvCacheType(8, 34 / 32),
    "q5_1": KvCacheType(7, 24 / 32),
    "q5_0": KvCacheType(6, 22 / 32),
    "q4_1": KvCacheType(3, 20 / 32),
    "q4_0": KvCacheType(2, 18 / 32),
    "iq4_nl": KvCacheType(20, 18 / 32),
}
"""Every type by its name in settings and load options."""
