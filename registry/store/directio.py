"""Files that are written and read without the page cache (direct I/O), from reused memory.

At a gigabyte a second the page cache is the largest cost of a download: one more copy, and new
pages for a file that is not read again soon. On a file system without direct I/O the same calls go
through the page cache.
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
_PUNCH_HOLE: Final = 2
"""FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE (fallocate(2))."""


class Blocks:
    """Aligned memory of `BLOCK_BYTES` a piece, for one thread."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []
        self._users: dict[int, int] = {}
        """Number of users of each block that is in use, by the block's identity."""

    @property
    def taken(self) -> int:
        """Number of blocks in use."""
        return len(self._users)

    def take(self) -> memoryview:
        """A block of arbitrary content, which the caller has until `give_back`."""
        block = self._free.pop() if self._free else memoryview(mmap.mmap(-1, BLOCK_BYTES))
        self._users[id(block)] = 1
        return block

    def share(self, block: memoryview) -> None:
        """Add a user to a block; each user gives it back."""
        self._users[id(block)] += 1

    def give_back(self, block: memoryview) -> None:
        """Give a block back; it is free once all of its users have."""
        self._users[id(block)] -= 1
        if not self._users[id(block)]:
            del self._users[id(block)]
            self._free.append(block)


def allocate(fd: int, size_bytes: int) -> None:
    """Reserve disk space for a file's first bytes, where the file system can; its length stays.

    Not os.posix_fallocate: on NFS and FUSE the C library does that by writing to every block.

    Raises:
        OSError: there is no room.
    """
    _fallocate(fd, _KEEP_SIZE, 0, size_bytes)


def give_back(fd: int, start: int, end: int) -> None:
    """Give back the room of a part of a file, which then reads as zeros, where that can be.

    Raises:
        OSError: the file system has a fault.
    """
    _fallocate(fd, _KEEP_SIZE | _PUNCH_HOLE, start, end - start)


def _fallocate(fd: int, mode: int, start: int, size_bytes: int) -> None:
    import ctypes

    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if fallocate is None or not size_bytes:
        return
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if fallocate(fd, mode, start, size_bytes):
        code = ctypes.get_errno()
        if code not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise OSError(code, os.strerror(code))


class DirectFile:
    """A second descriptor to an open file, for direct I/O."""

    def __init__(self, path: Path, fd: int) -> None:
        self._fd = fd
        self._direct_fd = -1
        self._is_refused = False
        """Whether the file system refused a direct read or write after it had opened the file."""
        if flag := getattr(os, "O_DIRECT", 0):
            with contextlib.suppress(OSError):
                self._direct_fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flag)

    def write(self, view: memoryview, offset: int, *, is_cached: bool) -> None:
        """Write all of `view`, the beginning of a block, at an aligned offset.

        Bytes behind the last multiple of the alignment go through the page cache.

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
        """Read into `view`, the beginning of a block, from an aligned offset.

        Returns the number of bytes read, which is less than asked for at the end of the file.

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
        """Close the second descriptor; the first one belongs to the caller."""
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
