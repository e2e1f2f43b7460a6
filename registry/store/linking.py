"""Reflinks and hard links: a second name for a file's bytes, without a copy.

A blob that is a hard link changes when somebody writes to the user's file in place. What the file
looked like when it was hashed is recorded, so that this is noticed without reading it.
"""

import errno
import os
from pathlib import Path

import msgspec

from olmkit.registry.errors import store_errors
from olmkit.registry.oci.digest import Digest
from olmkit.registry.reflink import reflink
from olmkit.registry.store.records import write_record

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
        if reflink(fd, target, mode=0o644):
            return False
        return True if _linked(fd, path, target) else None


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


class _Record(msgspec.Struct):
    inode: int
    size_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> "_Record":
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


def looks_same(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether a file was not written to between the two looks at it."""
    return _Record.of(before) == _Record.of(after)


class LinkRecords:
    """What hard-linked blobs looked like when they were hashed: one small file for each."""

    def __init__(self, folder: Path, staging: Path) -> None:
        self._folder = folder
        self._staging = staging

    def record(self, digest: Digest, found: os.stat_result) -> None:
        """Remember how the blob's file looks.

        Raises:
            DiskFull, StoreError: the record cannot be written.
        """
        raw = msgspec.json.encode(_Record.of(found))
        write_record(self._folder / digest.file_name, raw, staging=self._staging)

    def was_written_since(self, digest: Digest, found: os.stat_result) -> bool:
        """Whether the file looks other than recorded; no for one that is not recorded."""
        record, now = self._read(digest.file_name), _Record.of(found)
        return record is not None and record.inode == now.inode and record != now

    def find(self, found: os.stat_result) -> Digest | None:
        """The digest under which a file that looks like this is recorded."""
        if found.st_nlink < 2 or not self._folder.is_dir():
            return None
        wanted = _Record.of(found)
        names = [name for name in os.listdir(self._folder) if self._read(name) == wanted]
        return Digest(names[0]) if names else None

    def _read(self, name: str) -> _Record | None:
        try:
            return msgspec.json.decode((self._folder / name).read_bytes(), type=_Record)
        except (OSError, msgspec.MsgspecError):
            return None

    def forget(self, digest: Digest) -> None:
        """Remove a record; fine when absent.

        Raises:
            StoreError: it cannot be removed.
        """
        path = self._folder / digest.file_name
        with store_errors(path, "remove"):
            path.unlink(missing_ok=True)

    def forget_all_but(self, names: set[str]) -> None:
        """Remove the records of all blobs whose file is not named here.

        Raises:
            StoreError: they cannot be read or removed.
        """
        with store_errors(self._folder, "clean"):
            for name in os.listdir(self._folder) if self._folder.is_dir() else []:
                if name not in names:
                    (self._folder / name).unlink(missing_ok=True)
