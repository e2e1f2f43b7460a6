"""States of prompts on disk, which outlive the loaded model and the daemon.

One file a text, in a folder for whatever makes states of one kind: weights, adapters, type of the
KV cache, build of the engine. Names are digests, so that a listing tells nothing of a prompt;
files and folders are the user's alone (0600, 0700). What is read is checked: another owner or
mode, a wrong length or a digest that differs, and the file counts as absent and is removed.

The budget is over all models, and what was used longest ago goes first. Files are written by a
thread of their own, under another name until they are whole.
"""

import array
import hashlib
import json
import os
import stat
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from olmkit.engine.promptfiles import NOTE_NAME, PROMPT_SUFFIX

LEAST_TOKENS: Final = 256
"""Shorter texts are computed again as fast as they are read."""
_PART: Final = ".part"
_STALE_S: Final = 3600.0
"""Age from which a file that was never finished belongs to nobody any more."""
_MOST_FILES: Final = 4096
"""Files of one folder that are looked at."""
_MOST_TOKENS: Final = 1 << 22
_MOST_PENDING: Final = 2
"""States that wait to be written; each is a copy in memory."""
_BLOCK_BYTES: Final = 1 << 22

_MAGIC: Final = b"olmkv001"
_HEADER: Final = struct.Struct("<8sIiQ32s32s")
"""Magic, tokens, first position, bytes of the state, digests of the state and of the tokens."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredState:
    """One file, its header read."""

    path: Path
    tokens: tuple[int, ...]
    first_position: int
    size_bytes: int
    digest: bytes


class StoredStates:
    """The states of one kind in one directory of all kinds."""

    def __init__(
        self, directory: Path, kind: str, *, budget_bytes: int, note: Mapping[str, str]
    ) -> None:
        """`kind`: all that a state depends on beside its tokens, as one text; `note`: what people
        are told of it.
        """
        self._directory = directory
        self._note = note
        self._kind = hashlib.sha256(kind.encode()).hexdigest()
        self._folder = directory / self._kind[:32]
        self._budget_bytes = budget_bytes
        self._known: dict[str, StoredState] | None = None
        self._queue: SimpleQueue[tuple[tuple[int, ...], int, Any]] = SimpleQueue()
        self._pending = 0
        self._thread: threading.Thread | None = None

    @property
    def states(self) -> list[StoredState]:
        """All that can be used, read at the first call."""
        if self._known is None:
            self._known = {one.path.name: one for one in self._read_folder()}
        return list(self._known.values())

    def has(self, tokens: Sequence[int]) -> bool:
        """Whether this text is kept, or will be in a moment."""
        return bool(self.states) and self._name(tokens) in (self._known or {})

    def load(self, stored: StoredState) -> bytearray | None:
        """The state of a file; None, and the file removed, where it is not what it was."""
        try:
            with open(stored.path, "rb") as file:
                file.seek(_HEADER.size + 4 * len(stored.tokens))
                state = bytearray(stored.size_bytes)
                read_bytes = file.readinto(state)
            if read_bytes == stored.size_bytes and _digest(state) == stored.digest:
                os.utime(stored.path)
                return state
        except (OSError, MemoryError):
            pass
        self.drop(stored)
        return None

    def drop(self, stored: StoredState) -> None:
        """Removes a file."""
        if self._known is not None:
            self._known.pop(stored.path.name, None)
        with suppress(OSError):
            stored.path.unlink()

    def keep(self, tokens: Sequence[int], first_position: int, state: Any) -> None:
        """Writes a state beside the loop; none that is short, big, known or one too many."""
        size_bytes = len(state)
        if len(tokens) < LEAST_TOKENS or size_bytes > self._budget_bytes // 2:
            return
        if self._pending >= _MOST_PENDING or self.has(tokens):
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="prompts", daemon=True)
            self._thread.start()
        self._pending += 1
        self._queue.put((tuple(tokens), first_position, state))

    def keep_now(self, tokens: Sequence[int], first_position: int, state: Any) -> None:
        """As `keep`, and returns when it is written."""
        if len(tokens) >= LEAST_TOKENS and len(state) <= self._budget_bytes // 2:
            with suppress(OSError):  # a full disk: nothing is kept
                self._write(tuple(tokens), first_position, state)

    # --- reading -----------------------------------------------------------------------------

    def _name(self, tokens: Sequence[int]) -> str:
        return (
            _digest(array.array("i", tokens).tobytes() + self._kind.encode()).hex()[:40]
            + PROMPT_SUFFIX
        )

    def _read_folder(self) -> Iterator[StoredState]:
        try:
            if not _is_private(os.lstat(self._folder), stat.S_ISDIR):
                return
            names = sorted(os.listdir(self._folder))[:_MOST_FILES]
        except OSError:
            return
        for name in names:
            path = self._folder / name
            if name == NOTE_NAME:
                continue
            if name.endswith(PROMPT_SUFFIX):
                stored = _read_header(path)
                if stored is not None and self._name(stored.tokens) == name:
                    yield stored
                    continue
            with suppress(OSError):
                if name.endswith(PROMPT_SUFFIX) or time.time() - path.stat().st_mtime > _STALE_S:
                    path.unlink()

    # --- writing, in the thread --------------------------------------------------------------

    def _write_all(self) -> None:
        while True:
            tokens, first_position, state = self._queue.get()
            try:
                self._write(tokens, first_position, state)
            except OSError:
                pass
            finally:
                del state
                self._pending -= 1

    def _write(self, tokens: tuple[int, ...], first_position: int, state: Any) -> None:
        raw_tokens = array.array("i", tokens).tobytes()
        digest, size_bytes = _digest(state), len(state)
        header = _HEADER.pack(
            _MAGIC, len(tokens), first_position, size_bytes, digest, _digest(raw_tokens)
        )
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._write_note()
        make_room(self._directory, self._budget_bytes - size_bytes - len(raw_tokens))
        path = self._folder / self._name(tokens)
        part = path.with_name(f"{path.name}.{os.getpid()}{_PART}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
        try:
            with open(os.open(part, flags, 0o600), "wb", buffering=0) as file:
                view = memoryview(state).cast("B")
                for piece in (header, raw_tokens):
                    file.write(piece)
                for start in range(0, size_bytes, _BLOCK_BYTES):
                    file.write(view[start : start + _BLOCK_BYTES])
            part.rename(path)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise
        if self._known is not None:
            self._known[path.name] = StoredState(
                path=path,
                tokens=tokens,
                first_position=first_position,
                size_bytes=size_bytes,
                digest=digest,
            )

    def _write_note(self) -> None:
        path = self._folder / NOTE_NAME
        if not path.exists():
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
                json.dump(dict(self._note), file)


def make_room(directory: Path, budget_bytes: int) -> None:
    """Removes the files that were used longest ago until the rest fits the budget."""
    files = []
    for folder in directory.iterdir():
        with suppress(OSError):
            for path in folder.iterdir():
                if path.name.endswith(PROMPT_SUFFIX):
                    facts = path.stat()
                    files.append((facts.st_mtime, facts.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= budget_bytes:
            return
        with suppress(OSError):
            path.unlink()
        total -= size


def _read_header(path: Path) -> StoredState | None:
    """A file's header; None where it is foreign, of another form or cut off."""
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            facts = os.fstat(file.fileno())
            raw = file.read(_HEADER.size)
            if not _is_private(facts, stat.S_ISREG) or len(raw) < _HEADER.size:
                return None
            magic, count, first_position, size_bytes, digest, token_digest = _HEADER.unpack(raw)
            if magic != _MAGIC or not LEAST_TOKENS <= count <= _MOST_TOKENS:
                return None
            if facts.st_size != _HEADER.size + 4 * count + size_bytes:
                return None
            raw_tokens = file.read(4 * count)
    except OSError:
        return None
    if _digest(raw_tokens) != token_digest:
        return None
    return StoredState(
        path=path,
        tokens=tuple(array.array("i", raw_tokens)),
        first_position=first_position,
        size_bytes=size_bytes,
        digest=digest,
    )


def _is_private(facts: os.stat_result, is_kind: Any) -> bool:
    is_ours = not hasattr(os, "geteuid") or facts.st_uid == os.geteuid()
    return bool(is_kind(facts.st_mode)) and is_ours and not facts.st_mode & 0o077


def _digest(data: Any) -> bytes:
    return hashlib.sha256(data).digest()
