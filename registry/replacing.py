"""A finished file takes its place: by a rename, and by other means where there can be none.

Mount points stand between folders that look like neighbours: `rename(2)` and `link(2)` answer
EXDEV across bind mounts of one file system, and across project quotas, though the device is the
same. A file that is a mount point itself, as containers mount single files, cannot be replaced at
all (EBUSY).
"""

import errno
import os
import secrets
import shutil
import tempfile
from pathlib import Path

_COPY_BYTES = 1 << 20


def replace(staged: Path, target: Path, *, beside: Path | None = None) -> None:
    """Make the finished file `staged` the file `target`, at once; `staged` is gone then.

    Where it cannot be renamed, its bytes are copied into `beside`, a folder that files can be
    renamed from, `target`'s own folder when not given, and the copy is synced and renamed.

    Raises:
        OSError: it cannot be written; what was there still is.
    """
    try:
        os.replace(staged, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        return
    copy = (beside or target.parent) / f".{target.name}.{secrets.token_hex(8)}"
    try:
        _copy(staged, copy)
        os.replace(copy, target)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    os.unlink(staged)


def replace_mounted(staged: Path, target: Path) -> None:
    """`replace`, for a file of the user's that may be a mount point: that one is written in place.

    Readers may see such a file half written; there is no other way to change it.

    Raises:
        OSError: it cannot be written.
    """
    try:
        replace(staged, target)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        with open(staged, "rb") as source, open(target, "r+b") as file:
            shutil.copyfileobj(source, file, _COPY_BYTES)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        os.unlink(staged)


def write_in_place(path: Path, text: str) -> None:
    """Give a file of the user's a new text in one step; one that is new is for its owner alone.

    A link is followed, so that a dotfile manager's link stays one; an existing mode is kept.

    Raises:
        OSError: it cannot be written; what was there still is.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    handle, staged = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        replace_mounted(Path(staged), target)
    except BaseException:
        os.unlink(staged)
        raise


def _copy(source: Path, target: Path) -> None:
    with open(source, "rb") as reader:
        mode = os.fstat(reader.fileno()).st_mode & 0o777
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(target, flags, 0o600), "wb") as writer:
            shutil.copyfileobj(reader, writer, _COPY_BYTES)
            writer.flush()
            os.fchmod(writer.fileno(), mode)
            os.fsync(writer.fileno())
