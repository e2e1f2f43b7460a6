"""Content-addressed files: `blobs/sha256-<hex>`, Ollama's layout.

Decides how bytes become a blob: written or linked aside, hashed, synced, then renamed, so that a
blob that can be seen is whole and verified whatever dies when. Knows nothing of names; which blobs
are still wanted is decided in `collect`.

A use of a blob renews its inode's change time: `collect` spares what was used since the oldest
living lease began, or within the grace period.
"""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from olmkit.registry.errors import (
    CorruptBlob,
    StoreError,
    store_errors,
)
from olmkit.registry.oci.digest import Digest, OnBytes, hash_descriptor, hash_file, write_all
from olmkit.registry.replacing import replace
from olmkit.registry.store.linking import LinkRecords, clone_or_link, looks_same
from olmkit.registry.store.locks import FOLDER_MODE, claimed_folder, locked, remove_abandoned
from olmkit.registry.store.room import STEP_BYTES, require_room

BLOB_MODE = 0o644
_OLD_NAME = re.compile(r"sha256:[0-9a-fA-F]{64}")


class BlobWriter:
    """Writes the bytes of one new blob; made by `BlobStore.writer`, used by one thread."""

    def __init__(
        self, store: "BlobStore", fd: int, path: Path, expected: Digest | None, size: int | None
    ) -> None:
        self._store = store
        self._fd = fd
        self._path = path
        self._expected = expected
        self._size_bytes = size
        self._hasher = hashlib.sha256()
        self._written_bytes = self._checked_bytes = 0

    @property
    def written_bytes(self) -> int:
        """Number of bytes written so far."""
        return self._written_bytes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes.

        Raises:
            CorruptBlob: more bytes than announced.
            DiskFull, StoreError: they cannot be written.
        """
        view = memoryview(data)
        if self._size_bytes is not None and self._written_bytes + len(view) > self._size_bytes:
            self._refuse(f"more than {self._size_bytes} bytes")
        if self._written_bytes + len(view) > self._checked_bytes:
            self._checked_bytes = self._written_bytes + len(view) + STEP_BYTES
            require_room(self._store.folder, len(view), self._store.kept_free_bytes)
        with store_errors(self._store.folder, "write to", needed_bytes=self._size_bytes):
            write_all(self._fd, view)
        self._hasher.update(view)
        self._written_bytes += len(view)

    def commit(self) -> Digest:
        """Make the bytes a blob, durably, and return its digest.

        Raises:
            CorruptBlob: not the announced size or digest; nothing appears.
            DiskFull, StoreError: the blob cannot be written.
        """
        digest = Digest("sha256:" + self._hasher.hexdigest())
        if self._size_bytes is not None and self._written_bytes != self._size_bytes:
            self._refuse(f"{self._written_bytes} of {self._size_bytes} bytes")
        if self._expected is not None and digest != self._expected:
            self._refuse(str(digest))
        with store_errors(self._store.folder, "write to", needed_bytes=self._size_bytes):
            os.fchmod(self._fd, BLOB_MODE)
            sync(self._fd)
        self._store._install(self._path, digest, self._written_bytes)
        return digest

    def _refuse(self, actual: str) -> NoReturn:
        name = str(self._expected or "the blob")
        raise CorruptBlob(
            f"the content of {name} does not match: got {actual}",
            path=str(self._path),
            expected=name,
            actual=actual,
        )


class BlobStore:
    """The blobs of one store; may be used by any thread and any number of processes."""

    def __init__(self, root: Path, *, kept_free_bytes: int = 0) -> None:
        """`kept_free_bytes`: what is not written if less than that would be free afterwards."""
        self._root = root
        self.kept_free_bytes = kept_free_bytes
        self.folder = root / "blobs"
        self.links = LinkRecords(root / "links", root / "staging")
        self.unpacked = root / "unpacked"
        self._lock = root / "locks" / "store"

    def path(self, digest: Digest) -> Path:
        """The path of the blob's file, which need not exist; see `check`."""
        return self.folder / digest.file_name

    @property
    def staging(self) -> Path:
        """Where unfinished work lives: files can be renamed from there to be blobs."""
        try:
            is_apart = _mount(self.folder) != _mount(self._root)
        except FileNotFoundError:
            is_apart = False
        return self.stagings[1 if is_apart else 0]

    @property
    def stagings(self) -> tuple[Path, Path]:
        """Where it may live: beside the blobs, or among them where they are mounted apart.

        The second is of no use to Ollama, which removes it when empty.
        """
        return self._root / "staging", self.folder / ".olm-staging"

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A folder on the blobs' file system that is removed after the block, or when the process
        dies.

        Raises:
            StoreError, DiskFull: it cannot be made.
        """
        with store_errors(self.folder, "create"):
            self.folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        remove_abandoned(self.staging)
        with claimed_folder(self.staging) as folder:
            yield folder

    def rename_old(self) -> int:
        """Rename the blobs of old releases of Ollama, `sha256:<hex>`; returns how many.

        Ollama does so too whenever it starts. Where both names are, both stay.

        Raises:
            StoreError: the store cannot be read, or written.
        """
        with store_errors(self.folder, "rename the blobs of an old Ollama in"):
            try:
                old = [name for name in os.listdir(self.folder) if _OLD_NAME.fullmatch(name)]
            except FileNotFoundError:
                return 0
            if not old:
                return 0
            with locked(self._lock):
                for name in old:
                    path = self.path(Digest(name))
                    if not path.exists():
                        os.rename(self.folder / name, path)
                sync_folder(self.folder)
        return len(old)

    def has(self, digest: Digest, size_bytes: int | None = None) -> bool:
        """Whether the blob is there, and of that size. A blob that is found counts as used.

        Raises:
            StoreError: the store cannot be read.
        """
        if not self.is_whole(digest, size_bytes):
            return False
        try:
            with locked(self._lock, is_shared=True):
                return self._touch(digest) and self.is_whole(digest, size_bytes)
        except StoreError:
            return True  # a store that cannot be written is not collected either

    def is_whole(self, digest: Digest, size_bytes: int | None = None) -> bool:
        """`has`, without counting as a use.

        Raises:
            StoreError: the store cannot be read.
        """
        found = self._stat(digest)
        if found is None or size_bytes not in (None, found.st_size):
            return False
        return not self.links.was_written_since(digest, found)

    def _stat(self, digest: Digest) -> os.stat_result | None:
        path = self.path(digest)
        with store_errors(path, "read"):
            try:
                found = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return found if stat.S_ISREG(found.st_mode) else None

    def _touch(self, digest: Digest) -> bool:
        """Renew the change time only: the file may be a user's own, by a hard link."""
        path = self.path(digest)
        try:
            os.chmod(path, stat.S_IMODE(os.stat(path).st_mode))
        except FileNotFoundError:
            return False
        except OSError:
            pass  # another user's blob
        return True

    def check(self, digest: Digest, size_bytes: int | None = None) -> Path:
        """The blob's path, after the checks that cost no reading.

        A blob that shares its inode with a file outside, and whose times say that it was written
        since, is hashed again.

        Raises:
            CorruptBlob: another size, or changed since it was added.
            StoreError: absent or unreadable.
        """
        path = self.path(digest)
        found = self._stat(digest)
        if found is None:
            raise self._missing(digest)
        if size_bytes is not None and found.st_size != size_bytes:
            actual = f"{found.st_size} bytes instead of {size_bytes}"
            raise self._corrupt(digest, actual, f"has {actual}")
        if self.links.was_written_since(digest, found):
            self.verify(digest)
            self.links.record(digest, found)
        return path

    def verify(self, digest: Digest, on_bytes: OnBytes | None = None) -> None:
        """Hash the blob again.

        Raises:
            CorruptBlob: its bytes are others.
            StoreError: absent or unreadable.
        """
        actual = hash_file(self.path(digest), on_bytes)
        if actual != digest:
            raise self._corrupt(digest, actual, "was changed after it was added")

    def _missing(self, digest: Digest) -> StoreError:
        old = self.folder / digest
        hint = "pull or create the model again"
        if old.exists():
            hint = f"{old} is named as by an old Ollama: let olm or Ollama, once started, rename it"
        path = str(self.path(digest))
        return StoreError(f"blob {digest} is missing from {self.folder}", path=path, hint=hint)

    def _corrupt(self, digest: Digest, actual: str, what: str) -> CorruptBlob:
        path = str(self.path(digest))
        return CorruptBlob(
            f"blob {digest} {what}: {path}",
            path=path,
            expected=digest,
            actual=actual,
            hint="pull or create the model again",
        )

    def read_small(self, digest: Digest, limit_bytes: int) -> bytes:
        """The bytes of a blob that is small by nature, verified.

        Raises:
            CorruptBlob: its bytes are not those of the digest.
            StoreError: absent, unreadable, or longer than `limit_bytes`.
        """
        path = self.path(digest)
        try:
            with store_errors(path, "read"), open(path, "rb") as file:
                data = file.read(limit_bytes + 1)
        except StoreError as error:
            raise error if self._stat(digest) else self._missing(digest) from error
        if len(data) > limit_bytes:
            raise StoreError(f"blob {digest} is longer than {limit_bytes} bytes", path=str(path))
        if Digest.of(data) != digest:
            raise self._corrupt(digest, Digest.of(data), "holds other bytes")
        return data

    def put_bytes(self, data: bytes) -> Digest:
        """Store bytes and return their digest.

        Raises:
            DiskFull, StoreError: they cannot be written.
        """
        digest = Digest.of(data)
        if not self.has(digest, len(data)):
            with self.writer(expected=digest, size_bytes=len(data)) as writer:
                writer.write(data)
                writer.commit()
        return digest

    @contextmanager
    def writer(
        self, *, expected: Digest | None = None, size_bytes: int | None = None
    ) -> Iterator[BlobWriter]:
        """A writer for one new blob; without a `commit` in the block nothing remains.

        With `size_bytes`, the room is looked for before the first byte.

        Raises:
            DiskFull: no room for `size_bytes`.
            StoreError: the store cannot be written.
        """
        with self.workspace() as folder:
            self._require_room(size_bytes)
            path = folder / "blob"
            with store_errors(path, "create"):
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                yield BlobWriter(self, fd, path, expected, size_bytes)
            finally:
                os.close(fd)

    def _require_room(self, size_bytes: int | None) -> None:
        require_room(self.folder, size_bytes or 0, self.kept_free_bytes)

    def ingest_file(
        self, path: Path, *, on_bytes: OnBytes | None = None, follow_links: bool = True
    ) -> tuple[Digest, int]:
        """Make a file a blob, reading it once; returns digest and size in bytes.

        Its blocks are shared where the file system can (reflink), else the file itself (hard
        link), else copied in the pass that hashes. Which of them is known before the first read.
        A file that is a blob already, by a hard link, is not read again unless its time of
        modification changed.

        Raises:
            StoreError: no regular file, unreadable, changed meanwhile, or the store unwritable.
            DiskFull: no room for the copy.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        with store_errors(path, "read"):
            fd = os.open(path, flags if follow_links else flags | os.O_NOFOLLOW)
        try:
            return self._ingest(fd, path, on_bytes)
        finally:
            os.close(fd)

    def _ingest(self, fd: int, path: Path, on_bytes: OnBytes | None) -> tuple[Digest, int]:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise StoreError(f"{path} is no regular file", path=str(path))
        known = self._linked_blob(os.fstat(fd))
        if known is not None:
            return known
        with self.workspace() as folder:
            staged = folder / "blob"
            is_linked = clone_or_link(fd, path, staged)
            before = os.fstat(fd)
            if is_linked is None:
                digest, size_bytes = self._copy(fd, staged, before.st_size, on_bytes)
            else:
                with store_errors(path, "read"):
                    digest, size_bytes = hash_descriptor(fd, on_bytes)
                    sync(fd)
            if size_bytes != before.st_size or not looks_same(before, os.fstat(fd)):
                raise StoreError(f"{path} was changed while it was read", path=str(path))
            if self._install(staged, digest, size_bytes) and is_linked:
                self.links.record(digest, before)
        return digest, size_bytes

    def _linked_blob(self, found: os.stat_result) -> tuple[Digest, int] | None:
        """The blob that is the same file as this one, unchanged since it was hashed."""
        digest = self.links.find(found)
        blob = None if digest is None else self._stat(digest)
        if digest is None or blob is None or not os.path.samestat(blob, found):
            return None
        return (digest, found.st_size) if self.has(digest, found.st_size) else None

    def _copy(
        self, fd: int, staged: Path, size_bytes: int, on_bytes: OnBytes | None
    ) -> tuple[Digest, int]:
        self._require_room(size_bytes)
        with store_errors(self.folder, "write to", needed_bytes=size_bytes):
            out = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, BLOB_MODE)
            try:
                result = hash_descriptor(fd, on_bytes, copy_to=out)
                sync(out)
            finally:
                os.close(out)
        return result

    def _install(self, staged: Path, digest: Digest, size_bytes: int) -> bool:
        """Give a staged, verified, synced file its blob's name; `False` if that is there."""
        if self.has(digest, size_bytes):
            return False
        final = self.path(digest)
        with store_errors(final, "write", needed_bytes=size_bytes):
            try:
                os.rename(staged, final)
            except OSError as error:
                if error.errno != errno.EXDEV:  # a project quota: no mount tells of it
                    raise
                with claimed_folder(self.stagings[1]) as folder:
                    replace(staged, final, beside=folder)
            sync_folder(self.folder)
        return True

    def install(self, staged: Path, digest: Digest, size_bytes: int) -> None:
        """Make a blob of a file on the blobs' file system whose bytes are known to be `digest`'s.

        The file is synced and takes the blob's name; where the blob is there already, it stays.

        Raises:
            DiskFull, StoreError: the blob cannot be written.
        """
        with store_errors(staged, "write to", needed_bytes=size_bytes):
            self.folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
            fd = os.open(staged, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.fchmod(fd, BLOB_MODE)
                sync(fd)
            finally:
                os.close(fd)
        self._install(staged, digest, size_bytes)

    @property
    def partial(self) -> Path:
        """Where unfinished downloads stay: files can be renamed from there to be blobs."""
        return self.partials[self.stagings.index(self.staging)]

    @property
    def partials(self) -> tuple[Path, Path]:
        """Where they may stay, as `stagings`."""
        return self._root / "partial", self.folder / ".olm-partial"

    def discard(self, digest: Digest) -> None:
        """Remove a blob and what is recorded of it; fine when absent. For `collect` only.

        Raises:
            StoreError: it cannot be removed.
        """
        path = self.path(digest)
        with store_errors(path, "remove"):
            path.unlink(missing_ok=True)
        self.links.forget(digest)


def _mount(folder: Path) -> tuple[int, str]:
    """What tells folders apart between which no file can be renamed: device and mount.

    Raises:
        OSError: there is no such folder.
    """
    fd = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
    try:
        device = os.fstat(fd).st_dev
        try:
            # proc(5), fdinfo: bind mounts of one file system have one device and several ids.
            facts = Path(f"/proc/self/fdinfo/{fd}").read_text("ascii")
        except OSError:
            return device, ""
    finally:
        os.close(fd)
    return device, next((line for line in facts.splitlines() if line.startswith("mnt_id:")), "")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: the folder cannot be opened or synced.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(fd)
    finally:
        os.close(fd)


def sync(fd: int) -> None:
    """Make what was written to a file or folder durable, where its file system can.

    Raises:
        OSError: writing failed.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
