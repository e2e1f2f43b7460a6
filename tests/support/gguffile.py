"""Writing GGUF headers by hand, right and wrong ones.

The `gguf` package's writer refuses to write most of what a hostile file holds, so this one
writes exactly what it is told.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

UINT8, INT32, UINT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 0, 5, 4, 6, 7, 8, 9, 10
_FORMATS = {UINT8: "<B", INT32: "<i", UINT32: "<I", FLOAT32: "<f", BOOL: "<?", UINT64: "<Q"}


def text(value: str | bytes) -> bytes:
    """A GGUF string."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def number(kind: int, value: float) -> bytes:
    """A typed metadata value."""
    return struct.pack("<I", kind) + struct.pack(_FORMATS[kind], value)


def string(value: str) -> bytes:
    """A metadata value of type string."""
    return struct.pack("<I", STRING) + text(value)


def array(kind: int, values: Sequence[str | float]) -> bytes:
    """A metadata value of type array."""
    body = b"".join(
        text(value) if isinstance(value, str) else struct.pack(_FORMATS[kind], value)
        for value in values
    )
    return struct.pack("<IIQ", ARRAY, kind, len(values)) + body


@dataclass(kw_only=True)
class Row:
    """One row of the tensor table."""

    name: str | bytes
    shape: Sequence[int] = (32,)
    type_number: int = 0
    offset: int = 0

    def encode(self) -> bytes:
        """The row's bytes."""
        shape = struct.pack(f"<I{len(self.shape)}Q", len(self.shape), *self.shape)
        return text(self.name) + shape + struct.pack("<IQ", self.type_number, self.offset)


@dataclass(kw_only=True)
class GgufFile:
    """A header to be written, field by field."""

    metadata: dict[str, bytes] = field(
        default_factory=lambda: {"general.architecture": string("llama")}
    )
    tensors: Sequence[Row] = (Row(name="token_embd.weight"),)
    magic: bytes = b"GGUF"
    version: int = 3
    tensor_count: int | None = None
    metadata_count: int | None = None
    data: bytes = bytes(128)

    def encode(self) -> bytes:
        """The file's bytes."""
        tensors = len(self.tensors) if self.tensor_count is None else self.tensor_count
        entries = len(self.metadata) if self.metadata_count is None else self.metadata_count
        header = self.magic + struct.pack("<IQQ", self.version, tensors, entries)
        header += b"".join(text(key) + value for key, value in self.metadata.items())
        header += b"".join(row.encode() for row in self.tensors)
        return header + bytes(-len(header) % 32) + self.data

    def write(self, path: Path) -> Path:
        """Write the file; returns its path."""
        path.write_bytes(self.encode())
        return path
