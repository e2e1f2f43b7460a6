"""LoRA adapters with random numbers, for SmolLM2."""

from pathlib import Path

import gguf
import numpy as np


def write_adapter(
    path: Path, *, seed: int = 1, strength: float = 2.0, width: int = 576, layers: int = 1
) -> Path:
    """An adapter of rank 4 for the queries of the first layers; fits a model of that width.

    With one layer the model talks on, otherwise; with many it talks nonsense.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    random = np.random.default_rng(seed)
    for layer in range(layers):
        a, b = (random.normal(size=shape).astype(np.float32) for shape in ((4, width), (width, 4)))
        writer.add_tensor(f"blk.{layer}.attn_q.weight.lora_a", a)
        writer.add_tensor(f"blk.{layer}.attn_q.weight.lora_b", b * np.float32(strength))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
