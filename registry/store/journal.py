"""Unfinished downloads on the disk: the bytes, and a journal of which of them are there.

    partial/sha256-…         the data, as long as the blob will be
    partial/sha256-….json    {"size": …, "done": [[start, end], …]}
    partial/sha256-….lock    held by the process that downloads
    partial/uploads/….json   where a push goes on; `upload` writes them

The journal is replaced as a whole, after the bytes that it lists were written. It decides what is
downloaded, never what is right: the digest of all bytes is checked at the end.
"""

import contextlib
import fcntl
import json
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from olmkit.registry.errors import StoreError, store_errors
from olmkit.registry.store.directio import DirectFile, allocate, give_back
from olmkit.registry.store.locks import claims, is_held
from olmkit.registry.store.ranges import Ranges
from olmkit.registry.store.room import STEP_BYTES, require_room

JOURNAL_LIMIT_BYTES = 1 << 20
KEPT_S = 7 * 24 * 3600.0
"""Age at which unfinished downloads that nobody touched are removed."""

_DATA_MODE = 0o600
_SUFFIXES = (".json", ".lock", ".new")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """One unfinished download, as listings show it."""

    name: str
    size_bytes: int
    completed_bytes: int
    allocated_bytes: int
    modified_s: float
    is_running: bool
    is_staged: bool = False
    """Whether it is a file that was being written, not a download; such a file is never resumed."""


class Partial:
    """One unfinished download that this process holds; made by `claim`."""

    def __init__(
        self, folder: Path, name: str, size_bytes: int, lock_fd: int, kept_free_bytes: int
    ) -> None:
        self.path = folder / name
        self.size_bytes = size_bytes
        self._kept_free_bytes = kept_free_bytes
        self._reserved_bytes = 0
        self._journal = folder / f"{name}.json"
        self._lock_path = folder / f"{name}.lock"
        self._lock_fd = lock_fd
        self._uses = threading.Lock()
        self._held = 0
        self._is_closing = False
        self._is_removed = False
        with store_errors(self.path, "create", needed_bytes=size_bytes):
            self.fd = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _DATA_MODE
            )
            self.file = DirectFile(self.path, self.fd)
        self.done = self._saved = self._read()

    def _read(self) -> Ranges:
        found = _read_journal(self._journal)
        length = os.fstat(self.fd).st_size
        if found is None or found[0] != self.size_bytes or length != self.size_bytes:
            return Ranges()
        return found[1]

    def lay_out(self) -> None:
        """Make the file as long as it will be, without taking room, and see that it would fit.

        Raises:
            DiskFull, StoreError: there is no room, or the file cannot be written.
        """
        with store_errors(self.path.parent, "write to", needed_bytes=self.size_bytes):
            os.ftruncate(self.fd, self.size_bytes)
            there_bytes = os.fstat(self.fd).st_blocks * 512
        missing_bytes = max(0, self.size_bytes - there_bytes)
        require_room(self.path.parent, missing_bytes, self._kept_free_bytes)

    def reserve(self, arrived_bytes: int) -> None:
        """Take room for as much again as has arrived, and a step: a word alone takes none.

        Raises:
            DiskFull, StoreError: there is no room, or the file cannot be written.
        """
        wanted_bytes = min(self.size_bytes, 2 * arrived_bytes + STEP_BYTES)
        if wanted_bytes < min(self.size_bytes, self._reserved_bytes + STEP_BYTES):
            return
        folder = self.path.parent
        # What an earlier attempt took or brought is there already.
        there_bytes = os.fstat(self.fd).st_blocks * 512
        require_room(folder, max(0, wanted_bytes - there_bytes), self._kept_free_bytes)
        with store_errors(folder, "write to", needed_bytes=self.size_bytes):
            allocate(self.fd, wanted_bytes)
        self._reserved_bytes = wanted_bytes

    def save(self, done: Ranges) -> None:
        """Write the journal, unless the download was removed.

        Raises:
            DiskFull, StoreError: it cannot be written.
        """
        with self._uses:
            is_open = not self._is_closing
            self._held += is_open
        if is_open:
            try:
                self.reserve(done.total_bytes)
            finally:
                self._let_go()
        raw = json.dumps({"size": self.size_bytes, "done": list(done)}).encode()
        staged = self._journal.with_suffix(".new")
        with self._uses, store_errors(self._journal, "write"):
            if not self._is_removed:
                staged.write_bytes(raw)
                os.replace(staged, self._journal)
                self._saved = done

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Delay a `close` by another thread until the end of the block.

        Raises:
            StoreError: it is closed.
        """
        with self._uses:
            if self._is_closing:
                raise StoreError(f"cannot write to {self.path}: closed", path=str(self.path))
            self._held += 1
        try:
            yield
        finally:
            self._let_go()

    def _let_go(self) -> None:
        with self._uses:
            self._held -= 1
            is_last = self._is_closing and not self._held
        if is_last:
            self._close()

    def close(self) -> None:
        """Let go of the download, which can be resumed later. Further calls do nothing."""
        with self._uses:
            is_last = not self._is_closing and not self._held
            self._is_closing = True
        if is_last:
            self._close()

    def _give_back(self) -> None:
        """Give the room back that was taken for bytes which did not come."""
        end = 0
        for start, following in (*self._saved, (self._reserved_bytes, self._reserved_bytes)):
            if start > end:
                give_back(self.fd, end, min(start, self._reserved_bytes))
            end = max(end, following)
            if end >= self._reserved_bytes:
                return

    def _close(self) -> None:
        if not self._is_removed and self._reserved_bytes:
            with contextlib.suppress(OSError):
                self._give_back()
        self.file.close()
        os.close(self.fd)
        os.close(self._lock_fd)

    def remove(self) -> None:
        """Let go of the download and remove its files; the data file may have become a blob
        before."""
        with self._uses:
            self._is_removed = True
        for path in (self._journal, self.path, self._lock_path):
            with contextlib.suppress(OSError):
                path.unlink()
        self.close()


def claim(folder: Path, name: str, size_bytes: int, *, kept_free_bytes: int = 0) -> Partial | None:
    """The unfinished download of that name, new or resumed; None while somebody else holds it.

    Raises:
        DiskFull, StoreError: it cannot be made.
    """
    fd = _lock(folder, name)
    if fd is None:
        return None
    try:
        return Partial(folder, name, size_bytes, fd, kept_free_bytes)
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
    """Number of bytes of a download that are there, whoever holds it; 0 for an unknown one."""
    found = _read_journal(folder / f"{name}.json")
    return 0 if found is None else found[1].total_bytes


def prefix_bytes(folder: Path, name: str) -> int:
    """Number of bytes before the first gap of a download; 0 for an unknown one."""
    found = _read_journal(folder / f"{name}.json")
    return 0 if found is None else found[1].prefix_end


def allocated_bytes(folder: Path, name: str) -> int:
    """Bytes of disk space that an unfinished download takes."""
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
    """All unfinished downloads, for listings; also those without a journal.

    Raises:
        StoreError: the folder cannot be read.
    """
    listed = []
    for name in _names(folder):
        with store_errors(folder, "read"), contextlib.suppress(FileNotFoundError):
            data = os.lstat(folder / name)
            with _held(folder, name) as is_ours:
                listed.append(
                    Unfinished(
                        name=name,
                        size_bytes=data.st_size,
                        completed_bytes=completed_bytes(folder, name),
                        allocated_bytes=data.st_blocks * 512,
                        modified_s=_modified_s(folder, name),
                        is_running=not is_ours,
                    )
                )
    return listed


def _names(folder: Path) -> list[str]:
    """The names of all downloads that have any file in the folder."""
    names = set()
    with store_errors(folder, "read"), contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            if not path.is_dir():
                names.add(path.stem if path.suffix in _SUFFIXES else path.name)
    return sorted(names)


def _modified_s(folder: Path, name: str) -> float:
    """Time at which the data or the journal was written, or else the lock."""
    times: list[float] = []
    for suffix in ("", ".json", ".new", ".lock"):
        if suffix == ".lock" and times:
            break  # listings touch it
        with contextlib.suppress(OSError):
            times.append(os.lstat(folder / f"{name}{suffix}").st_mtime)
    return max(times, default=0.0)


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

    Files of the same age that belong to no download are removed too: locks and journals that a kill
    left, and the addresses at which pushes were to be resumed.

    Raises:
        StoreError: they cannot be read.
    """
    since_s = time.time() - kept_s
    removed = []
    listed = {entry.name: entry for entry in unfinished(folder)}
    for name in _names(folder):
        if _modified_s(folder, name) > since_s:
            continue
        with _held(folder, name) as is_ours:
            if is_ours:
                for suffix in ("", *_SUFFIXES):
                    with contextlib.suppress(OSError):
                        (folder / f"{name}{suffix}").unlink()
                if name in listed:
                    removed.append(listed[name])
    uploads = folder / "uploads"
    for name in _names(uploads):
        if _modified_s(uploads, name) <= since_s:
            for suffix in _SUFFIXES:
                with contextlib.suppress(OSError):
                    (uploads / f"{name}{suffix}").unlink()
    return removed


def staged(folder: Path) -> list[Unfinished]:
    """The folders of files that are being written, and of those that a kill left.

    `collect` removes these.

    Raises:
        StoreError: the folder cannot be read.
    """
    listed = []
    for claim in claims(folder):
        with store_errors(claim, "read"), contextlib.suppress(FileNotFoundError):
            found = [entry.lstat() for entry in claim.rglob("*")]
            files = [entry for entry in found if stat.S_ISREG(entry.st_mode)]
            listed.append(
                Unfinished(
                    name=f"{folder.name}/{claim.name}",
                    size_bytes=sum(entry.st_size for entry in files),
                    completed_bytes=sum(entry.st_size for entry in files),
                    allocated_bytes=sum(entry.st_blocks * 512 for entry in files),
                    modified_s=max((entry.st_mtime for entry in files), default=0.0),
                    is_running=is_held(claim),
                    is_staged=True,
                )
            )
    return listed
