"""Mark and sweep of blobs that no manifest mentions.

Decides what may go: a blob is kept when any file below `manifests/` mentions its digest anywhere,
when it was written or found within the grace period, or since the oldest living lease began.
Nothing goes while a file there cannot be read, or while another program downloads into the store.
The caller holds the store's lock for writing; blobs that come into use wait for it meanwhile.
"""

import os
import re
import threading
import time
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import msgspec

from olmkit.registry.errors import Cancelled, StoreError, store_errors
from olmkit.registry.events import BlobProgress, EventSink
from olmkit.registry.oci.digest import Digest
from olmkit.registry.store import unpacked
from olmkit.registry.store.blobs import BlobStore
from olmkit.registry.store.locks import claims, is_held, remove_abandoned
from olmkit.registry.store.nametree import NameTree, Unreadable, files_below, read_manifest_file

GRACE_S = 3600.0
"""Grace period, Ollama's own: younger blobs may belong to work that has no lease."""

_MENTION = re.compile(rb"sha256[:-][0-9a-fA-F]{64}")
_BLOB_FILE = re.compile(r"sha256-[0-9a-f]{64}")
_FOREIGN_DOWNLOAD = re.compile(r"sha256-[0-9a-f]{64}(-partial(-\d+)?|\.tmp)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused:
    """A blob that may go."""

    digest: Digest
    size_bytes: int
    freed_bytes: int
    """Bytes that its removal frees; 0 when another hard link keeps them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What a collection removed, or would remove."""

    unused: tuple[Unused, ...]
    spared: int
    """Number of blobs that nothing mentions, but that are young or may be in use."""
    blocked_by: tuple[Unreadable, ...]
    """Files that stand in the way; with any, nothing is removed and `unused` is empty."""

    @property
    def freed_bytes(self) -> int:
        """Bytes won on the disk."""
        return sum(blob.freed_bytes for blob in self.unused)


def collect(
    blobs: BlobStore,
    names: NameTree,
    leases: Path,
    *,
    grace_s: float = GRACE_S,
    is_dry_run: bool = False,
    on_event: EventSink = lambda _: None,
    cancelled: threading.Event | None = None,
) -> Collection:
    """Remove the blobs that nothing needs, and what dead processes left; return what went.

    With `is_dry_run` the same is found and nothing is removed.

    Raises:
        Cancelled: `cancelled` was set; what is removed by then stays so.
        StoreError: the store cannot be read, or written.
    """
    if not is_dry_run:
        remove_leftovers(blobs, names, leases)
    used, blocked_by = _mark(blobs, names)
    blocked_by += _foreign_downloads(blobs, grace_s)
    if blocked_by:
        return Collection(unused=(), spared=0, blocked_by=blocked_by)
    candidates = [digest for digest in all_blobs(blobs) if digest not in used]
    unused = _removable(blobs, candidates, _needed_since(leases, grace_s))
    if not is_dry_run:
        _discard(blobs, unused, on_event, cancelled)
        blobs.links.forget_all_but({entry.name for entry in _entries(blobs.folder)})
        unpacked.forget_all_but(blobs.unpacked, used)
    return Collection(unused=unused, spared=len(candidates) - len(unused), blocked_by=())


def remove_leftovers(blobs: BlobStore, names: NameTree, leases: Path) -> None:
    """Remove the unfinished files of dead processes, but no blob, name or download. Needs no lock.

    Raises:
        StoreError: a folder cannot be read.
    """
    for folder in {leases, *blobs.stagings, names.staging}:
        remove_abandoned(folder)


def _discard(
    blobs: BlobStore,
    unused: Sequence[Unused],
    on_event: EventSink,
    cancelled: threading.Event | None,
) -> None:
    removed_bytes, total_bytes = 0, sum(blob.size_bytes for blob in unused)
    for blob in unused:
        if cancelled is not None and cancelled.is_set():
            raise Cancelled("cancelled: nobody waits for the clean-up")
        blobs.discard(blob.digest)
        removed_bytes += blob.size_bytes
        on_event(
            BlobProgress(
                label="removing unused blobs",
                completed_bytes=removed_bytes,
                total_bytes=total_bytes,
            )
        )


def discard_unused(blobs: BlobStore, names: NameTree, leases: Path, raw: bytes) -> None:
    """Remove the blobs that a manifest mentioned, now that it is gone, unless others need them.

    No grace period: the user said that the model is no longer wanted.

    Raises:
        StoreError: the store cannot be read, or written.
    """
    used, blocked_by = _mark(blobs, names)
    if not blocked_by:
        mentioned = _mentioned(raw)
        candidates = (mentioned | unpacked.wanted_with(blobs.unpacked, mentioned)) - used
        for blob in _removable(blobs, candidates, _needed_since(leases, 0)):
            blobs.discard(blob.digest)


def remove_stale(folder: Path, grace_s: float = GRACE_S) -> None:
    """Remove the files of a folder that nobody changed within the grace period.

    Raises:
        StoreError: they cannot be read or removed.
    """
    since_s = time.time() - grace_s
    for entry in _entries(folder):
        with store_errors(entry.path, "remove"):
            try:
                found = entry.stat(follow_symlinks=False)
                is_old = max(found.st_mtime, found.st_ctime) < since_s
                if is_old and not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
            except FileNotFoundError:
                continue


def _mentioned(raw: bytes) -> set[Digest]:
    return {Digest(match.decode()) for match in _MENTION.findall(raw)}


def _mark(blobs: BlobStore, names: NameTree) -> tuple[Set[Digest], tuple[Unreadable, ...]]:
    """All digests that any manifest mentions, with the files that came out of those layers.

    Also returns the files that may be manifests but cannot be read.
    """
    used: set[Digest] = set()
    unreadable: list[Unreadable] = []
    for path, _ in files_below(names.folder):
        try:
            file = read_manifest_file(path)
            if file is not None:
                msgspec.json.decode(file.raw, type=dict[str, msgspec.Raw])
                used |= _mentioned(file.raw)
        except StoreError as error:
            unreadable.append(Unreadable(path=Path(path), reason=str(error)))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            unreadable.append(Unreadable(path=Path(path), reason=f"{path} is no manifest"))
    used |= unpacked.wanted_with(blobs.unpacked, used)
    return used, tuple(unreadable)


def _foreign_downloads(blobs: BlobStore, grace_s: float) -> tuple[Unreadable, ...]:
    """Ollama's unfinished downloads, when touched within the grace period."""
    since_s = time.time() - grace_s
    found = []
    for entry in _entries(blobs.folder):
        if _FOREIGN_DOWNLOAD.fullmatch(entry.name) and _changed_s(entry.path) >= since_s:
            reason = f"another program is downloading {entry.path}"
            found.append(Unreadable(path=Path(entry.path), reason=reason))
    return tuple(found)


def _changed_s(path: str) -> float:
    try:
        return os.lstat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def all_blobs(blobs: BlobStore) -> list[Digest]:
    """All blobs of a store, in order.

    Raises:
        StoreError: the store cannot be read.
    """
    return [Digest(e.name) for e in _entries(blobs.folder) if _BLOB_FILE.fullmatch(e.name)]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with store_errors(folder, "read"):
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            return []


def _needed_since(leases: Path, grace_s: float) -> float:
    """The time, in seconds since the epoch, from which on blobs that were used are spared."""
    begun = [time.time() - grace_s]
    for folder in claims(leases):
        if is_held(folder):
            try:
                begun.append(folder.stat().st_mtime)
            except FileNotFoundError:
                continue
    return min(begun)


def _removable(
    blobs: BlobStore, candidates: Iterable[Digest], needed_since_s: float
) -> tuple[Unused, ...]:
    removable = []
    for digest in sorted(candidates):
        try:
            found = os.lstat(blobs.path(digest))
        except FileNotFoundError:
            continue
        if max(found.st_mtime, found.st_ctime) < needed_since_s:
            freed = found.st_size if found.st_nlink == 1 else 0
            removable.append(Unused(digest=digest, size_bytes=found.st_size, freed_bytes=freed))
    return tuple(removable)
