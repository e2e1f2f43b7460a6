"""What the daemon asks of a quantizer: one order for one child process."""

import msgspec


class Quantization(msgspec.Struct, frozen=True, kw_only=True):
    """Write the GGUF model `source` to `target` with its matrices in another type."""

    source: str
    target: str
    file_type: int
    """A number of llama.cpp's `enum llama_ftype`."""
    threads: int
    tensor_bytes: dict[str, int]
    """Sizes of the source's tensors by name, for the progress."""
