"""Where olm keeps things: sizes, file systems, room."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")
_MOST_MOUNT_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One directory, there or not yet."""

    path: str
    is_there: bool
    is_writable: bool
    """This user may write there, or create it."""
    size_bytes: int
    """What its files take on the disk."""
    is_size_whole: bool
    """False: there was no time to count all of it."""
    file_system: str
    """`ext4`, `nfs4`; empty where the system does not say."""
    free_bytes: int
    """Room for this user on that file system."""
    mode: int
    """Permission bits; 0 where it is not there."""
    is_own: bool
    """It belongs to this user; true where it is not there."""


def look_at(path: Path, *, until_s: float) -> Place:
    """The directory as it is; counting ends at the monotonic time `until_s`. Never fails."""
    there = _nearest(path)
    size_bytes, is_whole = _size(path, until_s)
    try:
        found = path.stat()
        mode, is_own = found.st_mode & 0o7777, found.st_uid == os.geteuid()
    except OSError:
        mode, is_own = 0, True
    try:
        room = os.statvfs(there)
        free_bytes = room.f_bavail * room.f_frsize
    except OSError:
        free_bytes = 0
    return Place(
        path=str(path),
        is_there=path.exists(),
        is_writable=there.is_dir() and os.access(there, os.W_OK | os.X_OK),
        size_bytes=size_bytes,
        is_size_whole=is_whole,
        file_system=file_system_of(there),
        free_bytes=free_bytes,
        mode=mode,
        is_own=is_own,
    )


def file_system_of(path: Path, mounts: Path = _MOUNTS) -> str:
    """The kind of file system that a path is on; empty where the system does not say.

    Source: proc(5), /proc/pid/mountinfo.
    """
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read(_MOST_MOUNT_BYTES).splitlines()
        real = os.path.realpath(path)
    except OSError:
        return ""
    kind, longest = "", -1
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = fields[4].encode(errors="surrogateescape").decode("unicode_escape")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:  # of two mounts at one point the later one counts
            kind, longest = after.split(" ")[0], len(point)
    return kind


def _nearest(path: Path) -> Path:
    """The path itself, or what it would be created in."""
    for candidate in (path, *path.parents):
        if candidate.exists():
            return candidate
    return Path("/")


def _size(path: Path, until_s: float) -> tuple[int, bool]:
    """Bytes on the disk below a directory, each file once; and whether that is all of it."""
    total, seen, pending = 0, set(), [str(path)]
    while pending:
        if time.monotonic() > until_s:
            return total, False
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif found.st_ino not in seen:
                        seen.add(found.st_ino)
                        total += 512 * found.st_blocks
        except OSError:
            continue
    return total, True
