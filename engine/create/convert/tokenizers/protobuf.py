"""As much of Protocol Buffers' wire format as reading a sentencepiece model takes.

Source: https://protobuf.dev/programming-guides/encoding/
"""

import struct
from collections.abc import Iterator

Field = int | bytes | float
_MAX_VARINT_BYTES = 10


def fields(data: bytes) -> Iterator[tuple[int, Field]]:
    """Number and value of each field of a message, in order.

    A varint is an int, a 32-bit value a float, everything else its bytes.

    Raises:
        ValueError: the data is cut short or of another format.
    """
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == 2:
            size, position = _varint(data, position)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"unknown wire type {wire}")
        raw = data[position : position + size]
        if len(raw) != size:
            raise ValueError("the data ends within a field")
        position += size
        yield number, struct.unpack("<f", raw)[0] if wire == 5 else raw


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = 0
    for index in range(_MAX_VARINT_BYTES):
        if position >= len(data):
            raise ValueError("the data ends within a number")
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return result, position
    raise ValueError("a number is too long")
