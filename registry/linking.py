"""A second name for a file's bytes without copying them, where the file system can."""

import errno
import fcntl
import os
from pathlib import Path

from olmkit.registry.errors import store_errors

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_CANNOT_LINK = {
    errno.EXDEV,  # another file system
    errno.EPERM,  # no hard links here, or another user's file (fs.protected_hardlinks)
    errno.EACCES,
    errno.EMLINK,
    errno.ENOTSUP,
    errno.ENOSYS,
    errno.ENOENT,  # renamed since it was opened
}


def clone_or_link(fd: int, path: Path, target: Path) -> bool | None:
    """Make `target` hold what the open descriptor `fd`, of the file `path`, holds.

    Returns `False` when it shares blocks only (a reflink: later writes to one do not show in the
    other), `True` when it is the same file (a hard link), `None` when neither is possible here
    and nothing was made.

    Raises:
        StoreError, DiskFull: `target` cannot be made for another reason.
    """
    with store_errors(target, "create"):
        if _cloned(fd, target):
            return False
        return True if _linked(fd, path, target) else None


def _cloned(fd: int, target: Path) -> bool:
    out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        fcntl.ioctl(out, _FICLONE, fd)
        os.fsync(out)
    except OSError:
        os.unlink(target)
        return False
    finally:
        os.close(out)
    return True


def _linked(fd: int, path: Path, target: Path) -> bool:
    try:
        os.link(os.path.realpath(path), target)
    except OSError as error:
        if error.errno in _CANNOT_LINK:
            return False
        raise
    if os.path.samestat(os.fstat(fd), os.lstat(target)):
        return True
    os.unlink(target)  # the name means another file by now
    return False
