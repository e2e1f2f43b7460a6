"""Compressed streams: told by their first bytes, read as they arrive, within bounds.

Decides how far a stream may expand. zstd, gzip and plain, whatever a media type or file name says.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final, cast

import zstandard

from olmkit.registry.errors import SourceError
from olmkit.registry.tar.tarstream import Reader

ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
GZIP_MAGIC: Final = b"\x1f\x8b"
PLAIN_ALLOWANCE_BYTES: Final = 64 << 20
"""Bytes that any stream may expand to."""
RATIO_LIMIT: Final = 200
"""Most bytes that come out for each byte that goes in, beyond the allowance; weights give 1 to
2."""
_WINDOW_LIMIT_BYTES: Final = 128 << 20
_SPECIAL_READS: Final = 1 << 16


def decompressed(source: Reader) -> Reader:
    """The bytes that `source` holds, decompressed when its first bytes say that they are.

    Reading raises `SourceError` for broken data, and for data that expands beyond the limits.
    """
    counted = _Counted(source)
    head = counted.peek(len(ZSTD_MAGIC))
    if head.startswith(ZSTD_MAGIC):
        context = zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT_BYTES)
        inner: Reader = context.stream_reader(
            cast(IO[bytes], counted), read_across_frames=True, closefd=False
        )
    elif head.startswith(GZIP_MAGIC):
        inner = gzip.GzipFile(fileobj=io.BufferedReader(_Raw(counted), _SPECIAL_READS))
    else:
        return counted
    return _Bounded(inner, counted)


@contextmanager
def decompression_errors() -> Iterator[None]:
    """Turn what decompressors raise in the block into a `SourceError`."""
    try:
        yield
    except (zstandard.ZstdError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise SourceError(f"the compressed data is broken: {str(error).lower()}") from error


class _Counted:
    """A reader that counts its bytes and can look ahead."""

    def __init__(self, source: Reader) -> None:
        self._source = source
        self._ahead = b""
        self.count_bytes = 0

    def peek(self, size: int) -> bytes:
        while len(self._ahead) < size and (piece := self._source.read(size - len(self._ahead))):
            self._ahead += piece
        return self._ahead[:size]

    def read(self, size: int = -1) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            data = self._source.read(size)
        self.count_bytes += len(data)
        return data


class _Raw(io.RawIOBase):
    """A `Reader` as `gzip` wants one."""

    def __init__(self, source: Reader) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Bounded:
    """A reader of decompressed bytes, which raises when they exceed the limits."""

    def __init__(self, inner: Reader, source: _Counted) -> None:
        self._inner = inner
        self._source = source
        self._count_bytes = 0

    def read(self, size: int) -> bytes:
        with decompression_errors():
            data = self._inner.read(size)
        self._count_bytes += len(data)
        if self._count_bytes > PLAIN_ALLOWANCE_BYTES + RATIO_LIMIT * self._source.count_bytes:
            raise SourceError(
                f"the compressed data expands more than {RATIO_LIMIT} times, which weights do not"
            )
        return data
