"""Element types: raw safetensors values to and from 32-bit floats, block by block."""

from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from olmkit.engine.create.safetensors import DType
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.writer import GgmlType, OutputTensor

BLOCK_BYTES: Final = 16 * 1024 * 1024
"""Source bytes converted at a time; the peak is a few times this, whatever the model's size."""

Floats = NDArray[np.float32]
RawArray = NDArray[Any]
RowChange = Callable[[RawArray], RawArray]


class Source(Protocol):
    """What a tensor is made from: a safetensors tensor, or one computed from several."""

    @property
    def name(self) -> str:
        """Its name in the checkpoint."""

    @property
    def dtype(self) -> DType:
        """The type of its blocks."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Slowest dimension first."""

    @property
    def rows(self) -> int:
        """Length of the first dimension."""

    def blocks(self, limit_bytes: int, row_multiple: int = 1) -> Iterator[RawArray]:
        """All rows in order, in blocks of about `limit_bytes`, each a multiple of rows."""


_SAME: Final = {DType.F32: GgmlType.F32, DType.F16: GgmlType.F16, DType.BF16: GgmlType.BF16}


def to_float32(raw: RawArray, dtype: DType) -> Floats:
    """The values of a block as float32, exact but for float64 and 64-bit integers.

    Raises:
        ModelNotCreatable: 8-bit floats, which mean nothing without their scales.
    """
    if dtype is DType.BF16:
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype in (DType.F8_E4M3, DType.F8_E5M2, DType.F8_E8M0):
        raise ModelNotCreatable(f"{dtype} weights without scales cannot be converted")
    return raw.astype(np.float32)


def from_float32(values: Floats, to: GgmlType) -> RawArray:
    """The values in the type of the target, rounded to nearest, ties to even."""
    if to is GgmlType.F32:
        return values
    if to is GgmlType.F16:
        with np.errstate(over="ignore"):
            return values.astype(np.float16)
    bits = values.view(np.uint32)
    quiet = np.where(np.isnan(values), (bits & 0xFFFF0000) | 0x400000, bits).astype(np.uint64)
    rounded = (quiet + (0x7FFF + ((quiet >> np.uint64(16)) & np.uint64(1)))) >> np.uint64(16)
    return rounded.astype(np.uint16)


def output_tensor(
    source: Source,
    name: str,
    to: GgmlType,
    *,
    rows: int | None = None,
    row_multiple: int = 1,
    reorder: RowChange | None = None,
    add: float = 0.0,
    block_bytes: int = BLOCK_BYTES,
) -> OutputTensor:
    """`source` under a new name and type.

    `rows` keeps only the first ones; `reorder` exchanges rows within blocks of a multiple of
    `row_multiple`; `add` is added to each value; `block_bytes` of the source are in memory at a
    time.

    Raises while being written:
        ModelNotCreatable: the file is cut short, or a finite value is too large for `to`.
    """

    def blocks() -> Iterator[RawArray]:
        rest = source.rows if rows is None else rows
        for raw in source.blocks(block_bytes, row_multiple):
            if rest <= 0:
                return
            block = raw[:rest] if raw.ndim else raw
            rest -= len(block) if raw.ndim else 1
            if reorder:
                block = reorder(block)
            yield _encode(block, source, to, add)

    shape = source.shape if rows is None else (rows, *source.shape[1:])
    return OutputTensor(name=name, type=to, shape=shape, blocks=blocks)


def _encode(block: RawArray, source: Source, to: GgmlType, add: float) -> RawArray:
    if _SAME.get(source.dtype) is to and not add:
        return np.ascontiguousarray(block)
    values = to_float32(block, source.dtype)
    if add:
        values = values + np.float32(add)
    encoded = from_float32(np.ascontiguousarray(values), to)
    if to is GgmlType.F16 and (np.isinf(encoded) & np.isfinite(values)).any():
        raise ModelNotCreatable(
            f"tensor {source.name} holds values beyond the range of 16-bit floats"
        )
    return encoded


def constant_tensor(name: str, values: Floats) -> OutputTensor:
    """A small float32 tensor made by the converter itself."""
    return OutputTensor(
        name=name, type=GgmlType.F32, shape=values.shape, blocks=lambda: iter([values])
    )
