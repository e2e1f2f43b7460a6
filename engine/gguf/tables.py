"""The two tables of a GGUF header: metadata and tensors, read with every check they allow.

Lengths, types and shapes are checked while reading; that tensors lie inside the file and do not
overlap, once all are known. Arrays too long to keep stay in the file.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from olmkit.engine.gguf.stream import ARRAY, NUMBER_FORMATS, STRING, GgufStream, Scalar
from olmkit.engine.gguf.tensortypes import TENSOR_TYPES

MAX_METADATA: Final = 65_536
MAX_TENSORS: Final = 65_536
MAX_DIMENSIONS: Final = 4
MAX_NAME_BYTES: Final = 63
MAX_KEY_BYTES: Final = 65_535
MAX_ELEMENTS: Final = 2**63 - 1
SMALL_ARRAY: Final = 4096
"""Arrays of at most this many numbers are kept in `metadata`."""
SMALL_STRING_ARRAY: Final = 64
DEFAULT_ALIGNMENT: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufArray:
    """An array left in the file: where it is and what it holds."""

    element_type: int
    count: int
    offset_bytes: int


Value = Scalar | tuple[Scalar, ...] | GgufArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One row of the tensor table."""

    name: str
    shape: tuple[int, ...]
    """Elements a dimension, the fastest-varying first, as ggml has them."""
    type_name: str
    offset_bytes: int
    """From the start of the file."""
    size_bytes: int

    @property
    def elements(self) -> int:
        """How many numbers the tensor holds."""
        product = 1
        for dimension in self.shape:
            product *= dimension
        return product


def read_metadata(stream: GgufStream, count: int) -> dict[str, Value]:
    """The next `count` metadata entries, by key, in the order of the file."""
    metadata: dict[str, Value] = {}
    for _ in range(count):
        key = stream.string(limit_bytes=MAX_KEY_BYTES)
        if not key or key in metadata:
            raise stream.fail(f"the metadata key {key[:80]!r} is empty or given twice")
        kind = stream.u32()
        if kind == STRING:
            metadata[key] = stream.string()
        elif kind == ARRAY:
            metadata[key] = _read_array(stream, key)
        elif kind in NUMBER_FORMATS:
            metadata[key] = stream.number(kind)
        else:
            raise stream.fail(f"the metadata key {key[:80]!r} has the unknown type {kind}")
    return metadata


def _read_array(stream: GgufStream, key: str) -> Value:
    element_type, count = stream.u32(), stream.u64()
    array = GgufArray(element_type=element_type, count=count, offset_bytes=stream.position)
    if element_type == STRING:
        if count <= SMALL_STRING_ARRAY:
            return tuple(stream.string() for _ in range(count))
        stream.skip_strings(count)
    elif element_type in NUMBER_FORMATS:
        if count <= SMALL_ARRAY:
            stream.keep(count * 8)
            return tuple(read_elements(stream, element_type, count))
        stream.skip(count * NUMBER_FORMATS[element_type].size)
    else:
        raise stream.fail(
            f"the metadata key {key[:80]!r} is a list of the unknown type {element_type}"
        )
    return array


def read_elements(stream: GgufStream, element_type: int, count: int) -> Iterator[Scalar]:
    """The next `count` elements of an array, one at a time."""
    if element_type == STRING:
        yield from stream.strings(count)
        return
    for _ in range(count):
        yield stream.number(element_type)


def alignment_of(stream: GgufStream, metadata: Mapping[str, Value]) -> int:
    """What tensor data is aligned to, in bytes."""
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(value, int) or not 0 < value < 2**32 or value & (value - 1):
        raise stream.fail(f"the alignment {value} is no power of two")
    return value


def read_tensor(stream: GgufStream) -> Tensor:
    """A row of the table as it stands, `offset_bytes` still from the start of the data."""
    name = stream.string(limit_bytes=MAX_NAME_BYTES)
    dimensions = stream.u32()
    if dimensions > MAX_DIMENSIONS:
        raise stream.fail(f"the tensor {name!r} claims {dimensions} dimensions")
    shape = tuple(stream.u64() for _ in range(dimensions))
    number, offset = stream.u32(), stream.u64()
    tensor_type = TENSOR_TYPES.get(number)
    if tensor_type is None:
        raise stream.fail(f"the tensor {name!r} has the unknown type {number}")
    elements = 1
    for dimension in shape:
        elements *= dimension
    if not 0 < elements <= MAX_ELEMENTS:
        raise stream.fail(f"the tensor {name!r} has the impossible shape {list(shape)}")
    if (shape[0] if shape else 1) % tensor_type.block_elements:
        raise stream.fail(
            f"the rows of tensor {name!r}, {shape[0] if shape else 1} long, "
            f"do not divide into blocks of {tensor_type.name}"
        )
    size = elements // tensor_type.block_elements * tensor_type.block_bytes
    return Tensor(
        name=name,
        shape=shape,
        type_name=tensor_type.name,
        offset_bytes=offset,
        size_bytes=size,
    )


def place_tensors(
    stream: GgufStream, table: list[Tensor], data_offset: int, alignment: int, size_bytes: int
) -> tuple[Tensor, ...]:
    """The table with offsets from the start of the file, once it is known to fit the file."""
    if len({tensor.name for tensor in table}) != len(table):
        raise stream.fail("two tensors have the same name")
    end = 0
    for tensor in table:
        # llama.cpp takes no other order and no room between (gguf_init_from_file_ptr).
        expected = -(-end // alignment) * alignment
        if tensor.offset_bytes % alignment:
            raise stream.fail(f"the tensor {tensor.name!r} is not aligned to {alignment} bytes")
        if tensor.offset_bytes < expected:
            raise stream.fail(f"the tensor {tensor.name!r} overlaps another one")
        if tensor.offset_bytes > expected:
            raise stream.fail(f"there is a gap before the tensor {tensor.name!r}")
        end = tensor.offset_bytes + tensor.size_bytes
    needed = data_offset + end
    if table and needed > size_bytes:
        raise stream.fail(f"truncated: needs {needed} bytes, has {size_bytes}")
    return tuple(
        replace(tensor, offset_bytes=data_offset + tensor.offset_bytes) for tensor in table
    )
