"""Whether files are still those that were read."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_Look = tuple[int, int, int]
"""Inode, size and time of modification."""


@dataclass(frozen=True, slots=True)
class FileMarks:
    """How some files looked, all of which were there."""

    looks: tuple[tuple[str, _Look], ...]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> "FileMarks | None":
        """How the files look now; None where one cannot be looked at. Blocking."""
        try:
            return cls(tuple((text, _look(text)) for text in map(str, paths)))
        except OSError:
            return None

    def are_current(self) -> bool:
        """Whether all look the same now. Blocking, but for no longer than a look at each takes."""
        try:
            return all(_look(path) == look for path, look in self.looks)
        except OSError:
            return False


def _look(path: str) -> _Look:
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns
