"""Digests: the names of bytes.

Decides which spellings are digests and how files are hashed. Only sha256, which is what Ollama's
store and every model registry use. Knows no store and no registry.
"""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from olmkit.registry.errors import InvalidDigest, store_errors

_HINT = "a digest is sha256: and 64 hexadecimal digits"

BLOCK_BYTES = 1 << 20
"""Bytes hashed at a time: big enough that hashlib lets other threads run, small enough for L2."""

OnBytes = Callable[[int], None]
"""Callback with the number of bytes done so far; it may raise to stop the work."""

_CANONICAL = re.compile(r"sha256:[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")


class Digest(str):
    """`sha256:` and 64 lower-case hexadecimal digits; equal to, and usable as, that text.

    Also made from the form of file names, `sha256-…`.

    Raises:
        InvalidDigest: the text is neither.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "Digest":
        """The digest that `text` spells."""
        if _CANONICAL.fullmatch(text) is not None:  # nearly all
            return super().__new__(cls, text)
        match = _DIGEST.fullmatch(text)
        if match is None:
            raise InvalidDigest(f"{text[:100]!r} is no digest", text=text, hint=_HINT)
        return super().__new__(cls, "sha256:" + match[1].lower())

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """The digest that `text` spells, as `sha256:…` or `sha256-…`.

        Raises:
            InvalidDigest: the text is neither.
        """
        return cls(text)

    @classmethod
    def of(cls, data: bytes) -> "Digest":
        """The digest of bytes in memory."""
        return cls("sha256:" + hashlib.sha256(data).hexdigest())

    @property
    def hex(self) -> str:
        """The 64 digits alone."""
        return self[7:]

    @property
    def short(self) -> str:
        """The first 12 digits: the ID that listings show."""
        return self[7:19]

    @property
    def file_name(self) -> str:
        """The name of the blob's file, `sha256-…`."""
        return "sha256-" + self[7:]


def hash_file(path: Path, on_bytes: OnBytes | None = None) -> Digest:
    """The digest of a file's bytes, read once.

    Raises:
        StoreError: the file cannot be read.
    """
    with store_errors(path, "read"):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return hash_descriptor(fd, on_bytes)[0]
        finally:
            os.close(fd)


def hash_descriptor(
    fd: int, on_bytes: OnBytes | None = None, *, copy_to: int | None = None
) -> tuple[Digest, int]:
    """Digest and number of the bytes from the descriptor's position to its end.

    With `copy_to`, the same pass writes them to that descriptor.

    Raises:
        OSError: reading or writing failed; callers name the file.
    """
    hasher = hashlib.sha256()
    buffer = bytearray(BLOCK_BYTES)
    view = memoryview(buffer)
    total_bytes = 0
    while count := os.readv(fd, [buffer]):
        block = view[:count]
        hasher.update(block)
        if copy_to is not None:
            write_all(copy_to, block)
        total_bytes += count
        if on_bytes is not None:
            on_bytes(total_bytes)
    return Digest("sha256:" + hasher.hexdigest()), total_bytes


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`, however many calls that takes.

    Raises:
        OSError: writing failed.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
