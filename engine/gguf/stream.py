"""Reading the primitive values of a GGUF file, with a bound on everything.

The file is hostile until proven otherwise: it is read in blocks and never mapped (a mapped file
that another process truncates kills the reader), no length from the file is allocated before it
was compared with the bytes that are there, and long arrays are walked over, not kept.
"""

import math
import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

from olmkit.engine.errors import ModelUnloadable

BLOCK_BYTES: Final = 1 << 20
MAX_HEADER_BYTES: Final = 256 << 20
"""Largest header read. A 262k-word vocabulary takes 6 MB."""
MAX_STRING_BYTES: Final = 4 << 20
MAX_KEPT_BYTES: Final = 16 << 20
"""Most that is kept of one header: names, licences, chat templates, short arrays."""
MAX_ARRAY_STRINGS: Final = 4_000_000
"""Most strings of one array: walking over them costs time, 0.1 s a million."""

Scalar = int | float | bool | str

STRING: Final = 8
ARRAY: Final = 9
NUMBER_FORMATS: Final = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
"""Numbers by GGUF's type number. Source: gguf.h, `enum gguf_type`."""
FLOAT32: Final = 6
_U64: Final = NUMBER_FORMATS[10]


def shortest_float32(value: float) -> float:
    """The 64-bit number whose decimal form is the shortest that a 32-bit one has (1e-06).

    Without it 1e-06 read from 32 bits prints as 9.999999974752427e-07.
    """
    if not math.isfinite(value):
        return value
    for digits in range(6, 9):
        candidate = float(f"{value:.{digits}g}")
        try:
            if struct.pack("<f", candidate) == struct.pack("<f", value):
                return candidate
        except OverflowError:
            continue
    return float(f"{value:.9g}")


class GgufStream:
    """A forward reader over an open file; `position` counts bytes from the start of the file."""

    def __init__(self, file: BinaryIO, *, name: str, size_bytes: int) -> None:
        self._file = file
        self._name = name
        self._size_bytes = size_bytes
        self._buffer = b""
        self._at = 0
        self._base = 0
        self._keepable_bytes = MAX_KEPT_BYTES

    @property
    def position(self) -> int:
        """Offset in the file of the next byte."""
        return self._base + self._at

    def fail(self, problem: str) -> ModelUnloadable:
        """The error for this file; the caller raises it."""
        return ModelUnloadable(f"{self._name}: {problem}", model=self._name)

    def seek(self, position: int) -> None:
        """Go to an offset in the file."""
        self._file.seek(position)
        self._buffer, self._at, self._base = b"", 0, position

    def _require(self, count: int) -> None:
        """Have `count` bytes in the buffer from the current position on."""
        if len(self._buffer) - self._at >= count:
            return
        end = self.position + count
        if end > self._size_bytes:
            raise self.fail(
                f"truncated: its header needs at least {end} bytes, the file has {self._size_bytes}"
            )
        if end > MAX_HEADER_BYTES:
            raise self.fail(f"its header is over {MAX_HEADER_BYTES} bytes")
        rest = self._buffer[self._at :]
        more = self._file.read(max(count - len(rest), BLOCK_BYTES))
        self._base += self._at
        self._buffer, self._at = rest + more, 0
        if len(self._buffer) < count:
            raise self.fail("the file became shorter while it was read")

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        self._require(count)
        start = self._at
        self._at = start + count
        return self._buffer[start : self._at]

    def skip(self, count: int) -> None:
        """Step over `count` bytes."""
        if count <= len(self._buffer) - self._at:
            self._at += count
            return
        end = self.position + count
        if end > self._size_bytes:
            raise self.fail(
                f"truncated: its header needs at least {end} bytes, the file has {self._size_bytes}"
            )
        if end > MAX_HEADER_BYTES:
            raise self.fail(f"its header is over {MAX_HEADER_BYTES} bytes")
        self.seek(end)

    def number(self, kind: int) -> int | float | bool:
        """The next number of a GGUF type; 32-bit floats in their shortest decimal form."""
        form = NUMBER_FORMATS[kind]
        self._require(form.size)
        (value,) = form.unpack_from(self._buffer, self._at)
        self._at += form.size
        return shortest_float32(value) if kind == FLOAT32 else value

    def u32(self) -> int:
        """The next unsigned 32-bit number."""
        return int(self.number(4))

    def u64(self) -> int:
        """The next unsigned 64-bit number."""
        return int(self.number(10))

    def string(self, *, limit_bytes: int = MAX_STRING_BYTES) -> str:
        """The next string, to be kept; bytes that are no UTF-8 become U+FFFD."""
        text = self._string(limit_bytes)
        self.keep(len(text))
        return text

    def keep(self, count: int) -> None:
        """Account for `count` bytes that the caller keeps.

        Raises:
            ModelUnloadable: it is too much, over the whole header.
        """
        self._keepable_bytes -= count
        if self._keepable_bytes < 0:
            raise self.fail(f"its header holds more than {MAX_KEPT_BYTES} bytes of metadata")

    def _string(self, limit_bytes: int) -> str:
        length = self.u64()
        if length > limit_bytes:
            raise self.fail(f"a text of {length} bytes in its header is too long")
        return self.take(length).decode("utf-8", "replace")

    def skip_strings(self, count: int) -> None:
        """Step over `count` strings."""
        if count > MAX_ARRAY_STRINGS:
            raise self.fail(f"a list of {count} texts in its header is over {MAX_ARRAY_STRINGS}")
        unpack = _U64.unpack_from
        while count:
            self._require(8)
            buffer, at = self._buffer, self._at
            end = len(buffer) - 8
            while count and at <= end:
                at += 8 + unpack(buffer, at)[0]
                count -= 1
            if at <= len(buffer):
                self._at = at
            else:  # the last string goes on behind the buffer
                self._at = len(buffer)
                self.skip(at - len(buffer))

    def strings(self, count: int) -> Iterator[str]:
        """The next `count` strings, one at a time, for a caller that does not keep them all."""
        for _ in range(count):
            yield self._string(MAX_STRING_BYTES)
