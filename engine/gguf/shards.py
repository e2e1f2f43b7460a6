"""GGUF models in several files, `NAME-00001-of-00003.gguf`, put together into one.

The merged file is that which llama.cpp's splitter was given: metadata of the first shard without
what the splitter added, tensors in the shards' order. Bytes are copied block by block; nothing
but the header is held in memory.

Source: https://github.com/ggml-org/llama.cpp/tree/master/tools/gguf-split
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from olmkit.engine.errors import ModelNotCreatable, ModelUnloadable
from olmkit.engine.gguf.header import GgufHeader, read_header
from olmkit.engine.gguf.stream import GgufStream
from olmkit.engine.gguf.tables import DEFAULT_ALIGNMENT, Tensor, read_metadata
from olmkit.engine.gguf.tensortypes import TENSOR_TYPES
from olmkit.registry.shardnames import parse_shard_name

BLOCK_BYTES: Final = 1 << 20
MAX_ALIGNMENT: Final = 1 << 16
"""More is no use to any device, and padding takes memory here."""
_COUNTS: Final = struct.Struct("<4sIQQ")
"""Magic, version, number of tensors, number of metadata entries."""
_SPLIT_KEYS: Final = "split."
_TYPE_NUMBERS: Final = {kind.name: number for number, kind in TENSOR_TYPES.items()}


def sets_of(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The complete sets among the names: what each is called merged, and its shards in order.

    Raises:
        ModelNotCreatable: a set lacks a shard.
    """
    given = set(names)
    shards = filter(None, map(parse_shard_name, sorted(given)))
    sets = {(shard.stem, shard.count): shard.siblings for shard in shards}
    for siblings in sets.values():
        missing = [name for name in siblings if name not in given]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ModelNotCreatable(f"the model is not complete: {missing[0]}{more} missing")
    return {f"{stem}.gguf": siblings for (stem, _), siblings in sets.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """A merged file that can be written."""

    head: bytes
    pieces: tuple[tuple[Path, int, int], ...]
    """Path, offset and size of each tensor's data."""
    alignment: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the file."""
        return len(self.head) + sum(_padded(size, self.alignment) for _, _, size in self.pieces)

    def blocks(self) -> Iterator[bytes]:
        """The bytes of the file, piece by piece.

        Raises:
            ModelUnloadable: a shard cannot be read any more.
        """
        yield self.head
        for path, offset, size in self.pieces:
            yield from _read(path, offset, size)
            if padding := -size % self.alignment:
                yield bytes(padding)


def merge(shards: Mapping[str, Path]) -> Merge:
    """The one file that the shards make, by their names, in order.

    Raises:
        ModelUnloadable: one is no readable GGUF.
        ModelNotCreatable: they are not the shards of one model.
    """
    headers = [read_header(path, name=name) for name, path in shards.items()]
    _check(headers)
    first = headers[0]
    entries = list(_own_metadata(first))
    tensors = [tensor for header in headers for tensor in header.tensors]
    alignment = first.integer("general.alignment") or DEFAULT_ALIGNMENT
    if alignment > MAX_ALIGNMENT:
        raise ModelNotCreatable(f"{first.name} aligns its tensors to {alignment} bytes")
    head = b"".join(
        (
            _COUNTS.pack(b"GGUF", first.version, len(tensors), len(entries)),
            *entries,
            *_table(tensors, alignment),
        )
    )
    return Merge(
        head=head + bytes(-len(head) % alignment),
        pieces=tuple(
            (header.path, tensor.offset_bytes, tensor.size_bytes)
            for header in headers
            for tensor in header.tensors
        ),
        alignment=alignment,
    )


def require_whole(header: GgufHeader) -> None:
    """Refuse a file that is a shard, whatever it is called. Raises: ModelNotCreatable."""
    count = header.integer("split.count") or 0
    if count > 1:
        number = (header.integer("split.no") or 0) + 1
        raise ModelNotCreatable(
            f"{header.name} is part {number} of {count} of a model",
            hint="give all parts, under names that end in -00001-of-00003.gguf and so on",
        )


def _check(headers: Sequence[GgufHeader]) -> None:
    total = sum(len(header.tensors) for header in headers)
    for number, header in enumerate(headers):
        facts = (
            ("split.no", number),
            ("split.count", len(headers)),
            ("split.tensors.count", total),
        )
        for key, expected in facts:
            found = header.integer(key)
            if found != expected and not (key == "split.tensors.count" and found is None):
                raise ModelNotCreatable(
                    f"{header.name} is no part of this model: {key} is {found}, not {expected}"
                )
    names = {tensor.name for header in headers for tensor in header.tensors}
    if len(names) != total:
        raise ModelNotCreatable("two parts of the model hold the same tensor")


def _own_metadata(header: GgufHeader) -> Iterator[bytes]:
    """The entries as they stand in the file, without those of the splitter."""
    try:
        with open(header.path, "rb") as file:
            stream = GgufStream(file, name=header.name, size_bytes=header.size_bytes)
            stream.seek(_COUNTS.size)
            for _ in header.metadata:
                start = stream.position
                (key,) = read_metadata(stream, 1)
                if not key.startswith(_SPLIT_KEYS):
                    end = stream.position
                    yield b"".join(_read(header.path, start, end - start))
    except OSError as error:
        raise ModelUnloadable(f"{header.name}: {error.strerror}", model=header.name) from error


def _table(tensors: Sequence[Tensor], alignment: int) -> Iterator[bytes]:
    offset = 0
    for tensor in tensors:
        name, shape = tensor.name.encode(), tensor.shape
        yield struct.pack("<Q", len(name)) + name
        number = _TYPE_NUMBERS[tensor.type_name]
        yield struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, number, offset)
        offset += _padded(tensor.size_bytes, alignment)


def _read(path: Path, offset: int, size: int) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            while size:
                block = file.read(min(size, BLOCK_BYTES))
                if not block:
                    raise ModelUnloadable(f"{path} became shorter", model=str(path))
                size -= len(block)
                yield block
    except OSError as error:
        raise ModelUnloadable(f"{path}: {error.strerror}", model=str(path)) from error


def _padded(size: int, alignment: int) -> int:
    return size + -size % alignment
