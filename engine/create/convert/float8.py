"""Checkpoints that are quantized already: 8-bit floats are unpacked, the rest is refused."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from olmkit.engine.create.convert.elements import Floats, RawArray, Source, to_float32
from olmkit.engine.create.convert.hyperparameters import Hyperparameters
from olmkit.engine.create.safetensors import DType, Tensor
from olmkit.engine.errors import ModelNotCreatable

_SCALES: Final = ("_scale_inv", "_scale")
"""What comes after a weight's name in that of its scales."""
_UNUSED: Final = (".activation_scale", ".input_scale", ".k_scale", ".v_scale")
"""Scales of activations, which only matter to kernels that compute in 8 bits."""


def _e4m3() -> Floats:
    """The value of each byte: 4 bits of exponent, 3 of mantissa, no infinities."""
    byte = np.arange(256)
    exponent, mantissa = (byte >> 3) & 15, (byte & 7) / 8
    magnitude = np.where(
        exponent == 0, mantissa * 2.0**-6, (1 + mantissa) * 2.0 ** (exponent - 7.0)
    )
    magnitude[(byte & 127) == 127] = np.nan
    return (np.where(byte & 128, -1, 1) * magnitude).astype(np.float32)


def _e5m2() -> Floats:
    """The value of each byte: the upper half of a float16."""
    return (np.arange(256, dtype=np.uint16) << np.uint16(8)).view(np.float16).astype(np.float32)


_VALUES: Final = {DType.F8_E4M3: _e4m3(), DType.F8_E5M2: _e5m2()}


@dataclass(frozen=True, slots=True)
class ScaledTensor:
    """A matrix of 8-bit floats with a scale per block of rows and columns, as float32."""

    tensor: Tensor
    scales: Floats
    """`[blocks of rows, blocks of columns]`"""
    block: tuple[int, int]
    """Rows and columns under one scale."""

    dtype: DType = DType.F32

    @property
    def name(self) -> str:
        """The weight's name."""
        return self.tensor.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return self.tensor.shape

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.tensor.rows

    def blocks(self, limit_bytes: int, row_multiple: int = 1) -> Iterator[RawArray]:
        """All rows in order, in blocks of about `limit_bytes` float32 values."""
        values = _VALUES[self.tensor.dtype]
        column = np.arange(self.shape[1]) // self.block[1]
        begin = 0
        for raw in self.tensor.blocks(limit_bytes // 4, row_multiple):
            row = np.arange(begin, begin + len(raw)) // self.block[0]
            yield values[raw] * self.scales[row][:, column]
            begin += len(raw)


def unpacked(tensors: Mapping[str, Tensor], config: Hyperparameters) -> dict[str, Source]:
    """The tensors without their scales, 8-bit ones scaled; in the same order.

    Raises:
        ModelNotCreatable: another quantization than 8-bit floats, or scales that do not fit.
    """
    settings = config.object("quantization_config")
    method = settings.text("quant_method", default="none")
    if method not in ("none", "fp8", "compressed-tensors"):
        raise _refused(method)
    blocks = settings.find("weight_block_size")
    result: dict[str, Source] = {}
    for name, tensor in tensors.items():
        if tensor.dtype in _VALUES:
            scales = next((tensors[name + end] for end in _SCALES if name + end in tensors), None)
            if scales is None:
                raise ModelNotCreatable(f"tensor {name[:200]!r} has 8-bit floats and no scales")
            result[name] = _scaled(tensor, scales, blocks)
        elif method != "none" and (_is_scale(name, tensors) or name.endswith(_UNUSED)):
            continue
        else:
            result[name] = tensor
    return result


def check_is_float(source: Source) -> None:
    """Raises ModelNotCreatable for integers: packed weights of some quantization."""
    if source.dtype not in (DType.F64, DType.F32, DType.F16, DType.BF16):
        raise _refused(f"{source.dtype} values in {source.name[:200]}")


def _is_scale(name: str, tensors: Mapping[str, Tensor]) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in tensors for end in _SCALES)


def _refused(what: str) -> ModelNotCreatable:
    return ModelNotCreatable(
        f"config.json: the checkpoint is quantized already ({what[:250]})",
        hint="convert the unquantized original, then quantize that",
    )


def _scaled(tensor: Tensor, scales: Tensor, block_size: Any) -> ScaledTensor:
    values: NDArray[np.float32] = to_float32(scales.read(), scales.dtype)
    if len(tensor.shape) != 2 or not 0 < values.size <= tensor.size_bytes:
        raise ModelNotCreatable(f"tensor {tensor.name[:200]!r} has scales that do not fit")
    rows, columns = tensor.shape
    grid = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
    block = (math.ceil(rows / max(1, grid.shape[0])), math.ceil(columns / max(1, grid.shape[1])))
    if isinstance(block_size, list) and all(type(item) is int for item in block_size):
        block = (*block_size, 0, 0)[:2]
    if min(block) < 1 or grid.shape != (math.ceil(rows / block[0]), math.ceil(columns / block[1])):
        raise ModelNotCreatable(f"tensor {tensor.name[:200]!r} has scales that do not fit")
    return ScaledTensor(tensor, grid, block)
