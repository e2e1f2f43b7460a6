"""The prompts on disk as files: what is there, and their removal.

Runners write them (`engine/runner/promptcache/stored.py`), a folder for each kind of state, with a
note beside them that says of which weights. Shared by the daemon and its runners.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROMPT_SUFFIX: Final = ".prompt"
NOTE_NAME: Final = "kind.json"
_MOST_NOTE_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFolder:
    """What is kept of one kind of state."""

    folder: Path
    weights: str
    """The name of the weights' file, which in a store is their digest; empty: nothing tells."""
    prompts: int
    size_bytes: int
    used_s: float
    """When one of them was used last, in seconds of the epoch."""


def prompt_folders(directory: Path) -> list[PromptFolder]:
    """All kinds of which there are prompts, the one used last first. Blocking."""
    found = []
    with suppress(OSError):
        for folder in directory.iterdir():
            facts = []
            with suppress(OSError):
                for path in folder.iterdir():
                    if path.name.endswith(PROMPT_SUFFIX):
                        with suppress(OSError):
                            facts.append(path.stat())
            if facts:
                found.append(
                    PromptFolder(
                        folder=folder,
                        weights=_weights(folder / NOTE_NAME),
                        prompts=len(facts),
                        size_bytes=sum(one.st_size for one in facts),
                        used_s=max(one.st_mtime for one in facts),
                    )
                )
    return sorted(found, key=lambda one: one.used_s, reverse=True)


def remove_prompts(found: PromptFolder) -> int:
    """Removes the prompts of a kind; returns the bytes that this freed. Blocking."""
    freed = 0
    with suppress(OSError):
        for path in list(found.folder.iterdir()):
            if path.name.endswith(PROMPT_SUFFIX):
                with suppress(OSError):
                    size = path.stat().st_size
                    path.unlink()
                    freed += size
    return freed


def _weights(note: Path) -> str:
    try:
        with open(note, "rb") as file:
            facts = json.loads(file.read(_MOST_NOTE_BYTES))
        return str(facts["weights"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
