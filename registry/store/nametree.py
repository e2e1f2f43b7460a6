"""The folder `manifests/`: references as paths, and the files there.

Always four levels, `HOST/NAMESPACE/MODEL/TAG`, so that Ollama sees every model that olm keeps in a
shared store and spares its blobs. Deeper repositories fold into the namespace, and characters that
Ollama or a file system refuses are written `_hh_`, with their code in hexadecimal. So is one of
every name that Windows keeps for devices, and a dot at the end, which FAT and NTFS drop:

    ghcr.io/org/team/m:1   ->  ghcr.io/org_2f_team/m/1
    localhost:5000/m:1     ->  localhost:5000/_/m/1
    [::1]:5000/a/m:1       ->  _5b_::1_5d_:5000/a/m/1
    ghcr.io/team/aux:1.    ->  ghcr.io/team/_61_ux/1_2e_

Hosts keep the colon of their port, as Ollama writes it, and a name that Ollama wrote without
escapes is found as it is: look-ups compare what the files' names stand for. Links are not followed
anywhere, so no name leads out of the folder. Knows no manifest's content; locking is the caller's
business.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from olmkit.registry.errors import InvalidReference, StoreError, store_errors
from olmkit.registry.oci.digest import write_all
from olmkit.registry.oci.manifest import MANIFEST_LIMIT_BYTES
from olmkit.registry.oci.reference import DEFAULT_HOST, Reference
from olmkit.registry.replacing import replace
from olmkit.registry.store.blobs import BLOB_MODE, sync_folder
from olmkit.registry.store.locks import FOLDER_MODE, claimed_folder

LEVELS = 4
Parts = tuple[str, ...]
"""The `LEVELS` components of a manifest's path."""

_NO_NAMESPACE = "_"
_FILE_NAME_LIMIT = 255
_UNSAFE = re.compile(r"[^A-Za-z0-9._:-]|_(?=[0-9a-f]{2}([^A-Za-z0-9.:-]|\.$))")
"""What is escaped, and an underscore that would read as the beginning of an escape: one of the
text's own, or of what follows it and is escaped.
"""
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)
_ESCAPE = re.compile(r"_([0-9a-f]{2})_")
_DEPTH_LIMIT = 32


def parts_of(reference: Reference) -> Parts:
    """The path components of a reference; none is empty, `.` or `..`, or holds a slash.

    Raises:
        InvalidReference: one is longer than a file name may be.
    """
    namespace, _, model = reference.repository.rpartition("/")
    folder = _escape(namespace) if namespace else _NO_NAMESPACE
    if namespace == _NO_NAMESPACE and reference.host != DEFAULT_HOST:
        folder = f"_{ord(_NO_NAMESPACE):02x}_"
    parts = (
        _escape(reference.host),
        folder,
        _escape(model),
        _escape(reference.tag),
    )
    for part in parts:
        if len(part) > _FILE_NAME_LIMIT:
            raise InvalidReference(
                f"invalid model name {reference.short!r}: a part is too long for a file name",
                text=reference.full,
            )
    return parts


def reference_of(parts: Parts) -> Reference | None:
    """The reference whose path has these components; `None` when no reference has."""
    host, namespace, model, tag = (_unescape(part) for part in parts)
    # Ollama's own host always has a namespace, so there `_` is one.
    has_none = parts[1] == _NO_NAMESPACE and host != DEFAULT_HOST
    repository = model if has_none else f"{namespace}/{model}"
    try:
        return Reference(host, repository, tag)
    except InvalidReference:
        return None


def _escape(text: str) -> str:
    safe = _UNSAFE.sub(lambda match: _escaped(match[0]), text)
    if _DEVICE.match(safe):
        safe = _escaped(safe[0]) + safe[1:]
    return safe[:-1] + _escaped(".") if safe.endswith(".") else safe


def _escaped(char: str) -> str:
    return f"_{ord(char):02x}_"


def _unescape(part: str) -> str:
    if "_" not in part:  # nearly all
        return part
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), part)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFile:
    """A manifest's bytes with the file's time of modification."""

    raw: bytes
    modified_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A file or folder of the store that cannot be used, and why."""

    path: Path
    reason: str


class NameTree:
    """The manifests of one store, by the components of their paths."""

    def __init__(self, folder: Path, staging: Path) -> None:
        self.folder = folder
        self.staging = staging

    def path(self, parts: Sequence[str]) -> Path:
        """The path of these components.

        Raises:
            StoreError: one of them is a link; those are not followed.
        """
        path = self.folder
        for part in parts:
            path = path / part
            with store_errors(path, "read"):
                if path.is_symlink():
                    raise StoreError(
                        f"{path} is a link, and those are not followed", path=str(path)
                    )
        return path

    def _entry(self, parts: Sequence[str]) -> Path:
        """As `path`, but the last component may be a link: it is looked at, not followed."""
        return self.path(parts[:-1]) / parts[-1]

    def read(self, parts: Sequence[str]) -> ManifestFile | None:
        """The manifest's bytes; `None` when there is none.

        Raises:
            StoreError: no regular file, longer than `MANIFEST_LIMIT_BYTES`, or unreadable.
        """
        return read_manifest_file(str(self.path(parts)))

    def spelling(self, wanted: Parts) -> Parts | None:
        """The components of the file that `wanted` means, case folded, exact ones first.

        Raises:
            StoreError: a folder cannot be read, or is a link.
        """
        return wanted if self._is_file(wanted) else self._folded(wanted, ())

    def _is_file(self, parts: Parts) -> bool:
        """Something is there that a manifest could be; a link or a pipe too, so that its name can
        be removed."""
        path = self._entry(parts)
        with store_errors(path, "read"):
            try:
                return not stat.S_ISDIR(os.lstat(path).st_mode)
            except (FileNotFoundError, NotADirectoryError):
                return False

    def _folded(self, wanted: Parts, found: Parts) -> Parts | None:
        if len(found) == LEVELS:
            return found if self._is_file(found) else None
        for name in self._spellings(found, wanted[len(found)]):
            spelled = self._folded(wanted, (*found, name))
            if spelled is not None:
                return spelled
        return None

    def spelling_to_write(self, wanted: Parts) -> Parts:
        """`spelling`, else `wanted` with the folders that exist spelled as they are.

        Raises:
            StoreError: a folder cannot be read, or is a link.
        """
        spelled = self.spelling(wanted)
        if spelled is not None:
            return spelled
        found: Parts = ()
        for name in wanted:
            found = (*found, next(iter(self._spellings(found, name)), name))
        return found

    def _spellings(self, parents: Parts, name: str) -> list[str]:
        folded = _unescape(name).casefold()
        same = [other for other in self.names(parents) if _unescape(other).casefold() == folded]
        return sorted(same, key=lambda other: (other != name, other))

    def names(self, parents: Parts) -> list[str]:
        """The names in the folder of these components, sorted; none when it is absent.

        Raises:
            StoreError: it cannot be read, or is a link.
        """
        path = self.path(parents)
        with store_errors(path, "read"):
            try:
                return sorted(os.listdir(path))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def write(self, parts: Parts, raw: bytes) -> None:
        """Make `raw` the manifest at `parts`, durably and at once.

        Raises:
            DiskFull, StoreError: it cannot be written; what was there still is.
        """
        path = self.path(parts)
        with store_errors(path, "write"), claimed_folder(self.staging) as folder:
            staged = folder / "manifest"
            fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, BLOB_MODE)
            try:
                write_all(fd, raw)
                os.fsync(fd)
            finally:
                os.close(fd)
            self._make_folders(path.parent)
            replace(staged, path)
            sync_folder(path.parent)

    def touch(self, parts: Parts) -> None:
        """Make now the time at which the manifest at `parts` was modified.

        Raises:
            StoreError: it cannot be.
        """
        path = self.path(parts)
        with store_errors(path, "write"):
            os.utime(path)

    def _make_folders(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make_folders(folder.parent)
            folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            sync_folder(folder.parent)

    def remove(self, parts: Parts) -> None:
        """Remove the manifest at `parts`, and the folders that this leaves empty.

        Raises:
            StoreError: it cannot be removed.
        """
        path = self._entry(parts)
        with store_errors(path, "remove"):
            os.unlink(path)
            sync_folder(path.parent)
        for folder in path.parents:
            if folder == self.folder:
                break
            try:
                folder.rmdir()
            except OSError:
                break


def read_manifest_file(path: str) -> ManifestFile | None:
    """The bytes of a manifest's file; `None` when it does not exist.

    Raises:
        StoreError: no regular file, longer than `MANIFEST_LIMIT_BYTES`, or unreadable.
    """
    with store_errors(path, "read"):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise StoreError(f"{path} is no regular file", path=path)
            if found.st_size > MANIFEST_LIMIT_BYTES:
                raise StoreError(f"{path} is too long for a manifest", path=path)
            raw = os.read(fd, found.st_size)
        finally:
            os.close(fd)
    return ManifestFile(raw=raw, modified_s=found.st_mtime)


def stored_names(folder: str | Path) -> Iterator[Reference]:
    """The names of the files below `folder`, the store's `manifests`, unread.

    Raises:
        StoreError: `folder` cannot be read.
    """
    for path, depth in files_below(folder):
        if depth == LEVELS:
            reference = reference_of(Path(path).parts[-LEVELS:])
            if reference is not None:
                yield reference


def files_below(folder: str | Path, depth: int = 1) -> Iterator[tuple[str, int]]:
    """Every file and link below `folder` with its depth, in no particular order.

    Hidden files, which no reference can name, are left out. A folder that cannot be read, or is
    nested too deeply, stands for what is in it: it hides no other.

    Raises:
        StoreError: `folder` itself cannot be read.
    """
    if depth > _DEPTH_LIMIT:
        yield str(folder), depth - 1
        return
    try:
        with os.scandir(folder) as entries:
            found = [
                (entry.path, entry.is_dir(follow_symlinks=False))
                for entry in entries
                if not entry.name.startswith(".")
            ]
    except FileNotFoundError:
        return
    except OSError as error:
        if depth > 1:
            yield str(folder), depth - 1
            return
        with store_errors(folder, "read"):
            raise error
    for path, is_folder in found:
        if is_folder:
            yield from files_below(path, depth + 1)
        else:
            yield path, depth
