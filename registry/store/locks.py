"""Locks between processes, and folders that belong to one piece of work and end with it.

All of it is `flock` on files below the store: the kernel lets go when the holder dies, however it
dies, so nothing has to time out. Every acquisition opens its own descriptor, which makes threads
exclude each other as processes do.
"""

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from olmkit.registry.errors import store_errors

FOLDER_MODE = 0o755


@contextmanager
def locked(path: Path, *, is_shared: bool = False) -> Iterator[None]:
    """Hold the lock file `path`, made when absent, waiting for it as long as that takes.

    Raises:
        StoreError: the file cannot be made or opened.
    """
    with store_errors(path, "lock"):
        path.parent.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        with store_errors(path, "lock"):
            fcntl.flock(fd, fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def claimed_folder(parent: Path, *, mode: int = 0o700) -> Iterator[Path]:
    """A new folder below `parent` that is removed, with what it holds, when the block ends.

    When the process dies first, `remove_abandoned` tells that by the lock and removes it.

    Raises:
        StoreError: the folder cannot be made.
    """
    folder, fd = _claim(parent, mode)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(fd)


def _claim(parent: Path, mode: int) -> tuple[Path, int]:
    while True:
        folder = parent / secrets.token_hex(8)
        with store_errors(folder, "create"):
            parent.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
            folder.mkdir(mode=mode)
            fd = _lock_folder(folder)
        if fd is not None:
            return folder, fd
        # Removed as abandoned between mkdir and lock: take another.


def _lock_folder(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; `None` if it is gone or held elsewhere."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_same = os.path.samestat(os.fstat(fd), os.stat(folder))
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.EWOULDBLOCK, errno.ENOENT):
            return None
        raise
    if is_same:
        return fd
    os.close(fd)
    return None


def claims(parent: Path) -> list[Path]:
    """All claimed folders below `parent`, held or abandoned."""
    try:
        with os.scandir(parent) as entries:
            return [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def is_held(folder: Path) -> bool:
    """Whether a living process holds this claimed folder."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def remove_abandoned(parent: Path) -> list[Path]:
    """Remove the folders below `parent` whose process is gone, and return them.

    Raises:
        StoreError: `parent` cannot be read.
    """
    removed = []
    with store_errors(parent, "clean"):
        for folder in claims(parent):
            fd = _lock_folder(folder)
            if fd is None:
                continue
            try:
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder)
            finally:
                os.close(fd)
    return removed
