"""Whether files are still those that were read."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from olmkit.registry.store.linking import looks_same


@dataclass(frozen=True, slots=True)
class FileMarks:
    """How some files looked, all of which were there."""

    looks: tuple[tuple[str, os.stat_result], ...]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> "FileMarks | None":
        """How the files look now; None where one cannot be looked at. Blocking."""
        try:
            return cls(tuple((text, os.stat(text)) for text in map(str, paths)))
        except OSError:
            return None

    def are_current(self) -> bool:
        """Whether all look the same now. Blocking, but for no longer than a look at each takes."""
        try:
            return all(looks_same(look, os.stat(path)) for path, look in self.looks)
        except OSError:
            return False
