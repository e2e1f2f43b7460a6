"""What may lie over a model's weights: LoRA adapters and control vectors."""

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from olmkit.engine.runner.bindings.library import NativeError, api
from olmkit.engine.runner.bindings.model import Model


@dataclass(frozen=True, slots=True, eq=False)
class LoraAdapter:
    """A LoRA adapter that was loaded for a model."""

    handle: Any


@dataclass(frozen=True, slots=True, eq=False)
class ControlVector:
    """Directions for the outputs of a model's layers."""

    numbers: bytes
    """float32, those of layer 1 and of all layers behind it, one after the other; zeros where a
    layer is left as it is."""


Adapter = LoraAdapter | ControlVector


def load_lora(model: Model, path: str) -> LoraAdapter:
    """Loads a LoRA adapter; freed together with the model, unless before (`free_adapter`).

    Raises:
        NativeError: the file is no adapter of this model.
    """
    handle = api.llama_adapter_lora_init(model.handle, os.fsencode(path))
    if not handle:
        raise NativeError("the adapter was not loaded")
    return LoraAdapter(handle)


def free_adapter(adapter: Adapter) -> None:
    """Frees an adapter, which no context may compute with any more."""
    if isinstance(adapter, LoraAdapter):
        api.llama_adapter_lora_free(adapter.handle)


def summed(vectors: Sequence[tuple[ControlVector, float]]) -> Any:
    """The sum of control vectors of one model, each at a strength, as a ctypes array of floats.

    numpy is imported by the first one: a runner starts without it.
    """
    import numpy as np

    total = np.zeros(len(vectors[0][0].numbers) // 4)
    for vector, scale in vectors:
        total += scale * np.frombuffer(vector.numbers, "<f4").astype(np.float64)
    most = np.finfo(np.float32).max
    numbers = np.clip(total, -most, most).astype(np.float32)
    return (ctypes.c_float * numbers.size).from_buffer_copy(numbers.tobytes())
