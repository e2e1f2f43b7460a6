"""Reflinks: files that share the blocks of another one until either is written to.

Source: ioctl_ficlone(2).
"""

import os
from pathlib import Path
from typing import Final

_FICLONE: Final = 0x40049409
"""The request's number, `_IOW(0x94, 9, int)` of linux/fs.h."""


def reflink(source_fd: int, target: Path, *, mode: int) -> bool:
    """Make a new file that shares the blocks of an open one, and sync it.

    Returns False, with no file made, where the file system cannot do that.

    Raises:
        OSError: `target` cannot be created.
    """
    import fcntl

    target_fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        fcntl.ioctl(target_fd, _FICLONE, source_fd)
        os.fsync(target_fd)
    except OSError:
        os.unlink(target)
        return False
    finally:
        os.close(target_fd)
    return True
