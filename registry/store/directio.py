"""Files written and read past the page cache, in memory that is used again and again.

At a gigabyte a second the page cache is what a download costs most: a copy, and pages to be had for
every byte of a file that is not read again soon. Where the file system cannot do without it, the
same calls go through it.
"""

import contextlib
import errno
import mmap
import os
from pathlib import Path
from typing import Final

ALIGNMENT_BYTES: Final = 4096
"""Offsets, lengths and addresses are multiples of it (open(2), O_DIRECT)."""
BLOCK_BYTES: Final = 512 * 1024
_KEEP_SIZE: Final = 1
"""FALLOC_FL_KEEP_SIZE (fallocate(2))."""


class Blocks:
    """Aligned memory of `BLOCK_BYTES` a piece, for one thread."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []
        self._users: dict[int, int] = {}
        """How many have a block that is in use, by its identity."""

    @property
    def taken(self) -> int:
        """How many are in use."""
        return len(self._users)

    def take(self) -> memoryview:
        """A block with any content; it is the caller's until `give_back`."""
        block = self._free.pop() if self._free else memoryview(mmap.mmap(-1, BLOCK_BYTES))
        self._users[id(block)] = 1
        return block

    def share(self, block: memoryview) -> None:
        """The block has one user more, who gives it back too."""
        self._users[id(block)] += 1

    def give_back(self, block: memoryview) -> None:
        """The block is no longer used by one of its users."""
        self._users[id(block)] -= 1
        if not self._users[id(block)]:
            del self._users[id(block)]
            self._free.append(block)


def allocate(fd: int, size_bytes: int) -> None:
    """Take the room for a file's first bytes, where the file system can; it gets no longer.

    Not os.posix_fallocate: on NFS and FUSE the C library does that by writing to every block.

    Raises:
        OSError: there is no room.
    """
    import ctypes

    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if fallocate is None or not size_bytes:
        return
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if fallocate(fd, _KEEP_SIZE, 0, size_bytes):
        code = ctypes.get_errno()
        if code not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise OSError(code, os.strerror(code))


class DirectFile:
    """A file that is open already, with a second way to it that passes by the page cache."""

    def __init__(self, path: Path, fd: int) -> None:
        self._fd = fd
        self._direct_fd = -1
        self._is_refused = False
        """Some file systems open a file this way and then refuse to read or write it."""
        if flag := getattr(os, "O_DIRECT", 0):
            with contextlib.suppress(OSError):
                self._direct_fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flag)

    def write(self, view: memoryview, offset: int, *, is_cached: bool) -> None:
        """Write all of `view`, the beginning of a block, at an aligned offset.

        What is left of a multiple of the alignment goes through the page cache.

        Raises:
            OSError: it cannot be written.
        """
        done = 0
        whole = 0 if is_cached else len(view) // ALIGNMENT_BYTES * ALIGNMENT_BYTES
        while done < len(view):
            if done < whole and self._is_direct:
                try:
                    done += os.pwrite(self._direct_fd, view[done:whole], offset + done)
                    continue
                except OSError as error:
                    self._do_without(error)
            done += os.pwrite(self._fd, view[done:], offset + done)

    def read(self, view: memoryview, offset: int, *, is_cached: bool) -> int:
        """Read into `view`, the beginning of a block, from an aligned offset; how much was there.

        Raises:
            OSError: it cannot be read.
        """
        if not is_cached and self._is_direct and len(view) % ALIGNMENT_BYTES == 0:
            try:
                return os.preadv(self._direct_fd, [view], offset)
            except OSError as error:
                self._do_without(error)
        return os.preadv(self._fd, [view], offset)

    def close(self) -> None:
        """Close the second way; the file itself is its owner's."""
        if self._direct_fd >= 0:
            os.close(self._direct_fd)
            self._direct_fd = -1

    @property
    def _is_direct(self) -> bool:
        return self._direct_fd >= 0 and not self._is_refused

    def _do_without(self, error: OSError) -> None:
        if error.errno != errno.EINVAL:
            raise error
        self._is_refused = True
