"""LoRA adapters with random numbers, for SmolLM2, and control vectors of any numbers."""

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

Directions = Mapping[int, npt.NDArray[np.float32]]


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


def random_directions(
    seed: int, *, layers: int, width: int, strength: float = 4.0
) -> dict[int, npt.NDArray[np.float32]]:
    """A direction for each of a model's layers but the first."""
    random = np.random.default_rng(seed)
    return {
        layer: (strength * random.normal(size=width)).astype(np.float32)
        for layer in range(1, layers)
    }


def write_control_vector(path: Path, directions: Directions, *, count: int | None = None) -> Path:
    """A control vector as cvector-generator writes it; `count`: the directions that it claims."""
    writer = gguf.GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_int32("controlvector.layer_count", len(directions) if count is None else count)
    for layer, direction in directions.items():
        writer.add_tensor(f"direction.{layer}", direction)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
