"""Unfinished downloads on the disk: the bytes, and a journal of which of them are there.

    partial/sha256-…         the data, as long as the blob will be
    partial/sha256-….json    {"size": …, "done": [[start, end], …]}
    partial/sha256-….lock    held by the process that downloads

The journal is replaced as a whole, after the bytes that it tells of were written. It is trusted
for what to ask for, never for what is right: the digest of all bytes is checked at the end.
"""

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from olmkit.registry.errors import store_errors
from olmkit.registry.ranges import Ranges

JOURNAL_LIMIT_BYTES = 1 << 20
KEPT_S = 7 * 24 * 3600.0
"""Unfinished downloads that nobody touched for so long are removed."""

_DATA_MODE = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """One unfinished download, as listings show it."""

    name: str
    size_bytes: int
    completed_bytes: int
    allocated_bytes: int
    modified_s: float
    is_running: bool


class Partial:
    """One unfinished download that this process holds; made by `claim`."""

    def __init__(self, folder: Path, name: str, size_bytes: int, lock_fd: int) -> None:
        self.path = folder / name
        self.size_bytes = size_bytes
        self._journal = folder / f"{name}.json"
        self._lock_path = folder / f"{name}.lock"
        self._lock_fd = lock_fd
        with store_errors(self.path, "create", needed_bytes=size_bytes):
            self.fd = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _DATA_MODE
            )
        self.done = self._read()

    def _read(self) -> Ranges:
        found = _read_journal(self._journal)
        length = os.fstat(self.fd).st_size
        if found is None or found[0] != self.size_bytes or length != self.size_bytes:
            return Ranges()
        return found[1]

    def allocate(self) -> None:
        """Take the room for all bytes now, so that a full disk is known before they arrive.

        Raises:
            DiskFull, StoreError: there is no room, or the file cannot be written.
        """
        with store_errors(self.path.parent, "write to", needed_bytes=self.size_bytes):
            os.ftruncate(self.fd, self.size_bytes)
            if self.size_bytes:
                try:
                    os.posix_fallocate(self.fd, 0, self.size_bytes)
                except OSError as error:
                    if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                        raise

    def save(self, done: Ranges) -> None:
        """Write down which bytes are there.

        Raises:
            DiskFull, StoreError: it cannot be written.
        """
        raw = json.dumps({"size": self.size_bytes, "done": list(done)}).encode()
        staged = self._journal.with_suffix(".new")
        with store_errors(self._journal, "write"):
            staged.write_bytes(raw)
            os.replace(staged, self._journal)

    def close(self) -> None:
        """Let go; what is there stays for the next time."""
        os.close(self.fd)
        os.close(self._lock_fd)

    def remove(self) -> None:
        """Let go and leave nothing; the data file may have got another name before."""
        for path in (self._journal, self.path, self._lock_path):
            with contextlib.suppress(OSError):
                path.unlink()
        self.close()


def claim(folder: Path, name: str, size_bytes: int) -> Partial | None:
    """The unfinished download of that name, new or resumed; None while another one holds it.

    Raises:
        DiskFull, StoreError: it cannot be made.
    """
    fd = _lock(folder, name)
    if fd is None:
        return None
    try:
        return Partial(folder, name, size_bytes, fd)
    except BaseException:
        os.close(fd)
        raise


def _lock(folder: Path, name: str) -> int | None:
    path = folder / f"{name}.lock"
    while True:
        with store_errors(path, "create"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o755)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(path, flags, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its last holder removed it meanwhile: take the new one


def completed_bytes(folder: Path, name: str) -> int:
    """How much of a download is there, whoever holds it; 0 for unknown."""
    found = _read_journal(folder / f"{name}.json")
    return 0 if found is None else found[1].total_bytes


def prefix_bytes(folder: Path, name: str) -> int:
    """How much of a download is there from its first byte on, without a gap; 0 for unknown."""
    found = _read_journal(folder / f"{name}.json")
    return 0 if found is None else found[1].prefix_end


def allocated_bytes(folder: Path, name: str) -> int:
    """How much room an unfinished download has already."""
    try:
        return os.stat(folder / name).st_blocks * 512
    except OSError:
        return 0


def _read_journal(path: Path) -> tuple[int, Ranges] | None:
    """Size and ranges of a journal; None when there is none that makes sense."""
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(JOURNAL_LIMIT_BYTES))
        size, done = int(found["size"]), [(int(start), int(end)) for start, end in found["done"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if any(not 0 <= start < end <= size for start, end in done):
        return None
    return size, Ranges(done)


def unfinished(folder: Path) -> list[Unfinished]:
    """All unfinished downloads, for listings.

    Raises:
        StoreError: the folder cannot be read.
    """
    listed = []
    with store_errors(folder, "read"):
        for path in sorted(folder.glob("*.json")):
            found = _read_journal(path)
            with contextlib.suppress(FileNotFoundError):
                data = os.stat(path.with_suffix(""))
                with _held(folder, path.stem) as is_ours:
                    listed.append(
                        Unfinished(
                            name=path.stem,
                            size_bytes=data.st_size,
                            completed_bytes=found[1].total_bytes if found else 0,
                            allocated_bytes=data.st_blocks * 512,
                            modified_s=max(data.st_mtime, path.stat().st_mtime),
                            is_running=not is_ours,
                        )
                    )
    return listed


@contextmanager
def _held(folder: Path, name: str) -> Iterator[bool]:
    fd = _lock(folder, name)
    try:
        yield fd is not None
    finally:
        if fd is not None:
            os.close(fd)


def remove_old(folder: Path, kept_s: float = KEPT_S) -> list[Unfinished]:
    """Remove the unfinished downloads that nobody touched for `kept_s` seconds; return them.

    Raises:
        StoreError: they cannot be read.
    """
    since_s = time.time() - kept_s
    removed = []
    for entry in unfinished(folder):
        if entry.modified_s > since_s or entry.is_running:
            continue
        with _held(folder, entry.name) as is_ours:
            if is_ours:
                for suffix in ("", ".json", ".lock"):
                    with contextlib.suppress(OSError):
                        (folder / f"{entry.name}{suffix}").unlink()
                removed.append(entry)
    return removed
