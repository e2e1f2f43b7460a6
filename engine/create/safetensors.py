"""Reads safetensors files: header, tensor directory, raw values. Nothing else of a checkpoint.

A file is untrusted: sizes are bounded before anything is allocated, and every inconsistency
is a `ModelNotCreatable` that names the file and the tensor. Values are read with plain reads
into bounded buffers rather than through a memory map: a file that shrinks meanwhile is an
error then, not a SIGBUS.

Format: https://github.com/huggingface/safetensors#format
"""

import enum
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from olmkit.engine.errors import ModelNotCreatable

MAX_HEADER_BYTES: Final = 64 * 1024 * 1024
"""A header takes about 100 bytes a tensor; the format itself allows 100 MB."""
MAX_DIMENSIONS: Final = 8
_LENGTH_BYTES: Final = 8

RawArray = NDArray[Any]


class DType(enum.StrEnum):
    """Element types of the format, by their names in the header."""

    F64 = "F64"
    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"
    F8_E4M3 = "F8_E4M3"
    F8_E5M2 = "F8_E5M2"
    F8_E8M0 = "F8_E8M0"
    I64 = "I64"
    I32 = "I32"
    I16 = "I16"
    I8 = "I8"
    U64 = "U64"
    U32 = "U32"
    U16 = "U16"
    U8 = "U8"
    BOOL = "BOOL"

    @property
    def storage(self) -> np.dtype[Any]:
        """How numpy holds the elements; bfloat16 and 8-bit floats as unsigned integers."""
        return _STORAGE[self]


_STORAGE: Final[Mapping[DType, np.dtype[Any]]] = {
    DType.F64: np.dtype("<f8"),
    DType.F32: np.dtype("<f4"),
    DType.F16: np.dtype("<f2"),
    DType.BF16: np.dtype("<u2"),
    DType.F8_E4M3: np.dtype("u1"),
    DType.F8_E5M2: np.dtype("u1"),
    DType.F8_E8M0: np.dtype("u1"),
    DType.I64: np.dtype("<i8"),
    DType.I32: np.dtype("<i4"),
    DType.I16: np.dtype("<i2"),
    DType.I8: np.dtype("i1"),
    DType.U64: np.dtype("<u8"),
    DType.U32: np.dtype("<u4"),
    DType.U16: np.dtype("<u2"),
    DType.U8: np.dtype("u1"),
    DType.BOOL: np.dtype("u1"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Where one tensor lies: `[rows, …]`, slowest dimension first."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    path: Path
    offset_bytes: int
    """From the start of the file."""
    file_name: str
    """For messages: blobs are named by digest, users know `model.safetensors`."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * self.dtype.storage.itemsize

    @property
    def rows(self) -> int:
        """Length of the first dimension; a scalar is one row."""
        return self.shape[0] if self.shape else 1

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.storage.itemsize

    def read(self, begin: int = 0, end: int | None = None) -> RawArray:
        """Rows `begin` to `end` in their storage type, shape `[end - begin, …]`.

        Raises:
            ModelNotCreatable: the file ends early or cannot be read.
        """
        end = self.rows if end is None else end
        shape = (end - begin, *self.shape[1:]) if self.shape else ()
        array = np.empty(shape, self.dtype.storage)
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset_bytes + begin * self.row_bytes)
                got = _read_into(file, array.reshape(-1).view(np.uint8).data)
        except OSError as error:
            raise ModelNotCreatable(f"{self.file_name} cannot be read: {error.strerror}") from error
        if got != array.nbytes:
            raise ModelNotCreatable(f"{self.file_name} ends within tensor {self.name}")
        return array

    def blocks(self, limit_bytes: int, row_multiple: int = 1) -> Iterator[RawArray]:
        """All rows in order, in blocks of about `limit_bytes`, each a multiple of rows."""
        step = max(1, limit_bytes // max(1, self.row_bytes * row_multiple)) * row_multiple
        for begin in range(0, self.rows, step):
            yield self.read(begin, min(begin + step, self.rows))


def _read_into(file: BinaryIO, buffer: memoryview) -> int:
    done = 0
    while done < len(buffer) and (count := file.readinto(buffer[done:])):  # type: ignore[attr-defined]
        done += count
    return done


def read_tensors(path: Path, *, file_name: str | None = None) -> dict[str, Tensor]:
    """The tensors of one file, ordered by name.

    Raises:
        ModelNotCreatable: not a safetensors file, or one whose directory is inconsistent:
            truncated, oversized, tensors that overlap, leave gaps or lie outside the file.
    """
    name = file_name or path.name
    header, data_offset, data_bytes = _read_header(path, name)
    tensors = {
        key: _tensor(key, value, path=path, file_name=name, data_offset=data_offset)
        for key, value in sorted(header.items())
        if key != "__metadata__"
    }
    _check_layout(tensors.values(), name, data_offset, data_bytes)
    return tensors


def _read_header(path: Path, name: str) -> tuple[dict[str, Any], int, int]:
    """The header, the offset where the data begins, and the data's length in bytes."""
    try:
        with open(path, "rb") as file:
            file_bytes = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if file_bytes < _LENGTH_BYTES or length > file_bytes - _LENGTH_BYTES:
                raise ModelNotCreatable(
                    f"{name} is not a safetensors file or is cut short: "
                    f"{file_bytes} bytes for a header of {length}"
                )
            if length > MAX_HEADER_BYTES:
                raise ModelNotCreatable(
                    f"{name} has a header of {length} bytes, more than {MAX_HEADER_BYTES}"
                )
            raw = file.read(length)
    except OSError as error:
        raise ModelNotCreatable(f"{name} cannot be read: {error.strerror}") from error
    data_offset = _LENGTH_BYTES + length
    return _parse_header(raw, name), data_offset, file_bytes - data_offset


def _parse_header(raw: bytes, name: str) -> dict[str, Any]:
    try:
        header = json.loads(
            raw, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_no_constant
        )
    except RecursionError as error:
        raise ModelNotCreatable(f"{name} has an invalid header: nested too deeply") from error
    except ValueError as error:
        raise ModelNotCreatable(f"{name} has an invalid header: {error}") from error
    if not isinstance(header, dict):
        raise ModelNotCreatable(f"{name} has an invalid header: not an object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} where an integer belongs")


def _tensor(key: str, value: Any, *, path: Path, file_name: str, data_offset: int) -> Tensor:
    """One directory entry, checked by itself."""

    def fail(reason: str) -> ModelNotCreatable:
        return ModelNotCreatable(f"{file_name}: tensor {key[:200]!r} {reason}")

    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise fail("needs exactly dtype, shape and data_offsets")
    try:
        dtype = DType(value["dtype"])
    except ValueError:
        raise fail(f"has the unknown type {str(value['dtype'])[:40]!r}") from None
    shape, offsets = value["shape"], value["data_offsets"]
    if not _is_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise fail(f"has the invalid shape {str(shape)[:100]}")
    if not _is_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise fail(f"has the invalid offsets {str(offsets)[:100]}")
    tensor = Tensor(
        name=key,
        dtype=dtype,
        shape=tuple(shape),
        path=path,
        offset_bytes=data_offset + offsets[0],
        file_name=file_name,
    )
    if tensor.size_bytes != offsets[1] - offsets[0]:
        raise fail(
            f"of shape {shape} takes {tensor.size_bytes} bytes, "
            f"its offsets say {offsets[1] - offsets[0]}"
        )
    return tensor


def _is_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_layout(tensors: Iterable[Tensor], name: str, data_offset: int, data_bytes: int) -> None:
    """Tensors tile the data without overlap, gap or rest."""
    end, last = data_offset, ""
    for tensor in sorted(tensors, key=lambda item: (item.offset_bytes, item.size_bytes)):
        if tensor.offset_bytes + tensor.size_bytes > data_offset + data_bytes:
            raise ModelNotCreatable(
                f"{name}: tensor {tensor.name!r} lies outside the file, which may be cut short"
            )
        if tensor.offset_bytes < end:
            raise ModelNotCreatable(f"{name}: tensors {last!r} and {tensor.name!r} overlap")
        if tensor.offset_bytes > end:
            raise ModelNotCreatable(f"{name}: unused bytes before tensor {tensor.name!r}")
        end, last = end + tensor.size_bytes, tensor.name
    if end != data_offset + data_bytes:
        raise ModelNotCreatable(f"{name}: unused bytes after the last tensor")
