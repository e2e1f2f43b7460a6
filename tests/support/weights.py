"""Made-up weights in safetensors files: the same bytes on every machine.

Values come from SHAKE-128 of the tensor's name.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shapes = dict[str, tuple[int, ...]]
Json = dict[str, Any]


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
