"""Chats that are kept by name: one JSON file each in `OLM_HOME/sessions`, for its owner alone."""

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from olmkit.cli.errors import CliError, NotFound, UsageError
from olmkit.engine.client.replies import Message
from olmkit.registry.replacing import write_in_place

MAX_FILE_BYTES: Final = 256 * 1024 * 1024
"""Images of a chat are in it."""
VERSION: Final = 1
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSession:
    """What is kept of a chat."""

    model: str
    system: str | None
    options: dict[str, object]
    turns: tuple[Message, ...]


class SessionFile:
    """The file of one session, which need not be there."""

    def __init__(self, home: Path, name: str) -> None:
        """Raises: UsageError: the name is none."""
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name[:80]!r} is no name of a session: letters, digits and . _ -, 64 at most"
            )
        self.name = name
        self.path = sessions_folder(home) / f"{name}.json"
        self._lock = self.path.with_suffix(".lock")

    @contextmanager
    def held(self, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Keeps the session to this process: no other goes on with it, or removes it, meanwhile.

        Where another process holds it, `on_wait` is called and its end waited for.

        Raises:
            CliError: another process holds it, and there is no `on_wait`; it cannot be locked.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(self._lock, flags, 0o600)
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise CliError(f"cannot lock the session {self.path}: {reason}") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if on_wait is None:
                    raise CliError(
                        f"the session {self.name!r} is in use by another command"
                    ) from error
                on_wait()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def read(self) -> KeptSession | None:
        """What is kept; None: nothing yet.

        Raises:
            CliError: the file cannot be read, or is none of ours.
        """
        try:
            with open(self.path, "rb") as file:
                raw = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise CliError(f"cannot read {self.path}: {reason}") from error
        try:
            if len(raw) > MAX_FILE_BYTES:
                raise ValueError("too large")
            return _parse(json.loads(raw))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CliError(
                f"{self.path} holds no session that can be read",
                hint=f"`olm session rm {self.name}` removes it",
            ) from error

    def write(self, session: KeptSession) -> None:
        """Keeps the session in place of what was kept. Raises: CliError: it cannot be written."""
        said = {
            "version": VERSION,
            "model": session.model,
            "system": session.system,
            "options": session.options,
            "messages": [message.as_request() for message in session.turns],
        }
        try:
            write_in_place(self.path, json.dumps(said, ensure_ascii=False) + "\n")
        except (OSError, UnicodeError) as error:
            raise CliError(f"cannot keep the session in {self.path}: {error}") from error

    def remove(self) -> None:
        """Forgets the session.

        Raises:
            NotFound: there is none.
            CliError: another process holds it; it cannot be removed.
        """
        try:
            with self.held():
                self._lock.unlink(missing_ok=True)
                self.path.unlink()
        except FileNotFoundError as error:
            raise NotFound(
                f"there is no session {self.name!r}", hint="`olm session ls` shows them"
            ) from error
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise CliError(f"cannot remove {self.path}: {reason}") from error


def sessions_folder(home: Path) -> Path:
    """Where sessions are kept."""
    return home / "sessions"


def kept_sessions(home: Path) -> Iterator[SessionFile]:
    """All sessions that are kept, by name."""
    for path in sorted(sessions_folder(home).glob("*.json")):
        if _NAME.fullmatch(path.stem):
            yield SessionFile(home, path.stem)


def _parse(value: Any) -> KeptSession:
    if value["version"] != VERSION:
        raise ValueError("of another version")
    system, options = value["system"], value["options"]
    if not isinstance(system, str | None) or not isinstance(options, dict):
        raise TypeError("of another shape")
    return KeptSession(
        model=str(value["model"]),
        system=system,
        options=options,
        turns=tuple(map(_message, value["messages"])),
    )


def _message(value: Any) -> Message:
    role, content, thinking = value["role"], value["content"], value.get("thinking", "")
    images = tuple(value.get("images", ()))
    if role not in ("user", "assistant") or not all(
        isinstance(text, str) for text in (content, thinking, *images)
    ):
        raise TypeError("of another shape")
    return Message(role=role, content=content, thinking=thinking, images=images)
