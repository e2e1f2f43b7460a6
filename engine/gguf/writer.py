"""Writes GGUF files: metadata, then tensors streamed block by block.

The same metadata and tensors give the same bytes everywhere: keys and tensors in the order
given, nothing of the machine or the time. Knows nothing of models.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import enum
import math
import os
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from olmkit.engine.errors import ModelNotCreatable

ALIGNMENT: Final = 32
VERSION: Final = 3
MAX_TENSOR_NAME_BYTES: Final = 63
"""GGML_MAX_NAME without its closing NUL."""


class Int32(int):
    """An integer written as int32; plain ones are written as uint32."""


Scalar = bool | int | float | str
Value = Scalar | Sequence[bool] | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bytes]
Metadata = dict[str, Value]
"""bool, int, float and str become bool, uint32, float32 and string; in sequences int is int32."""

OnProgress = Callable[[int, int], None]
"""Called with completed and total bytes; what it raises ends the work and leaves no file."""


class GgmlType(enum.IntEnum):
    """Tensor types that conversion writes."""

    F32 = 0
    F16 = 1
    BF16 = 30

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return 4 if self is GgmlType.F32 else 2


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTensor:
    """One tensor to write; `shape` has the slowest dimension first."""

    name: str
    type: GgmlType
    shape: tuple[int, ...]
    blocks: Callable[[], Iterator[NDArray[Any]]]
    """The elements in order, as arrays of the stored type; read only while being written."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the elements, without padding."""
        return math.prod(self.shape) * self.type.item_bytes


def write_gguf(
    target: Path,
    metadata: Mapping[str, Value],
    tensors: Sequence[OutputTensor],
    *,
    on_progress: OnProgress | None = None,
) -> None:
    """Write the file `target`, which appears whole or not at all.

    It is not synced to disk: the store does that with what it takes in.

    Raises:
        ModelNotCreatable: a tensor's blocks do not add up to its shape, its name is too long, or
            a text is not Unicode.
        OSError: the target cannot be written.
    """
    with _replacing(target) as file:
        file.write(_head(metadata, tensors))
        _pad(file)
        total = sum(tensor.size_bytes for tensor in tensors)
        completed = 0
        for tensor in tensors:
            for size in _write_tensor(file, tensor):
                completed += size
                if on_progress:
                    on_progress(completed, total)


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A file beside `target` that takes its place when the block ends well, else vanishes."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(handle, "wb") as file:
            yield file
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _write_tensor(file: BinaryIO, tensor: OutputTensor) -> Iterator[int]:
    """Write one tensor, yielding the size of each block written."""
    rest = tensor.size_bytes
    for block in tensor.blocks():
        rest -= block.nbytes
        if rest < 0:
            break
        file.write(block.reshape(-1).view(np.uint8).data)
        yield block.nbytes
    if rest:
        raise ModelNotCreatable(f"tensor {tensor.name} does not have the size of its shape")
    _pad(file)


def _pad(file: BinaryIO) -> None:
    file.write(bytes(-file.tell() % ALIGNMENT))


def _head(metadata: Mapping[str, Value], tensors: Sequence[OutputTensor]) -> bytes:
    out = bytearray(b"GGUF" + struct.pack("<IQQ", VERSION, len(tensors), len(metadata)))
    for key, value in metadata.items():
        out += _string(key) + _value(value)
    offset = 0
    for tensor in tensors:
        if len(tensor.name.encode()) > MAX_TENSOR_NAME_BYTES:
            raise ModelNotCreatable(f"tensor name {tensor.name[:200]!r} is too long")
        dimensions = tensor.shape[::-1]
        out += _string(tensor.name) + struct.pack(
            f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, tensor.type, offset
        )
        offset += tensor.size_bytes + -tensor.size_bytes % ALIGNMENT
    return bytes(out)


_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


def _value(value: Value) -> bytes:
    """Type tag and bytes of one metadata value."""
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, Int32):
        return struct.pack("<Ii", _INT32, value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", _FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _string(value)
    return struct.pack("<I", _ARRAY) + _array(value)


def _array(values: Sequence[Any]) -> bytes:
    first = values[0]
    if isinstance(first, str | bytes):
        return struct.pack("<IQ", _STRING, len(values)) + b"".join(map(_string, values))
    kind, code = {bool: (_BOOL, "?"), int: (_INT32, "i"), float: (_FLOAT32, "f")}[type(first)]
    return struct.pack(f"<IQ{len(values)}{code}", kind, len(values), *values)


def _string(text: str | bytes) -> bytes:
    try:
        raw = text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise ModelNotCreatable(f"text with half a character in it: {text[:80]!r}") from error
    return struct.pack("<Q", len(raw)) + raw
