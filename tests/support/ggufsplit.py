"""Splitting a GGUF file as llama.cpp's `llama-gguf-split` does, with the `gguf` package."""

import struct
from pathlib import Path

from gguf import GGUFReader
from gguf.gguf_reader import ReaderField, ReaderTensor

UINT16, INT32 = 2, 5


def _raw(field: ReaderField) -> bytes:
    return b"".join(part.tobytes() for part in field.parts)


def _number(key: str, kind: int, form: str, value: int) -> bytes:
    name = key.encode()
    return struct.pack("<Q", len(name)) + name + struct.pack("<I" + form, kind, value)


def _row(tensor: ReaderTensor, offset: int) -> bytes:
    return _raw(tensor.field)[:-8] + struct.pack("<Q", offset)


def split(path: Path, folder: Path, stem: str, count: int) -> list[Path]:
    """`count` shards of the file, with about as many tensors each."""
    reader = GGUFReader(path)
    own = [_raw(f) for name, f in reader.fields.items() if not name.startswith("GGUF.")]
    total, made = len(reader.tensors), []
    for number in range(count):
        part = reader.tensors[number * total // count : (number + 1) * total // count]
        entries = (own if number == 0 else []) + [
            _number("split.no", UINT16, "H", number),
            _number("split.count", UINT16, "H", count),
            _number("split.tensors.count", INT32, "i", total),
        ]
        rows, data = b"", b""
        for tensor in part:
            rows += _row(tensor, len(data))
            data += tensor.data.tobytes()
            data += bytes(-len(data) % reader.alignment)
        head = struct.pack("<4sIQQ", b"GGUF", 3, len(part), len(entries)) + b"".join(entries) + rows
        target = folder / f"{stem}-{number + 1:05d}-of-{count:05d}.gguf"
        target.write_bytes(head + bytes(-len(head) % reader.alignment) + data)
        made.append(target)
    return made
