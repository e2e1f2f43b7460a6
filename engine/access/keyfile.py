"""The keys of a daemon, in `keys.json` of its home: hashed, for its user alone.

A key is 256 random bits, so one round of SHA-256 keeps it as well as a slow hash would: there is
nothing to guess. The command line writes the file, the daemon reads it when it changes; when each
key was last used the daemon writes into a file of its own.
Source: NIST SP 800-63B, section 5.1.1.2, on secrets that are not memorized.
"""

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from olmkit.engine.access.modelpatterns import parse_pattern
from olmkit.engine.access.rates import Rate, parse_rate
from olmkit.engine.access.scopes import Scope
from olmkit.engine.errors import KeysUnusable
from olmkit.registry.replacing import write_in_place

PREFIX: Final = "olm_"
SHOWN: Final = len(PREFIX) + 4
"""Characters of a key that listings show, to tell one from another."""
MAX_KEYS: Final = 1000
MAX_FILE_BYTES: Final = 4 << 20
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is kept of a key."""

    name: str
    sha256: str
    """64 hex digits."""
    begins: str
    """Its first characters."""
    scopes: tuple[Scope, ...]
    models: tuple[str, ...] | None
    """Patterns of the models it is good for; None: all."""
    rate: Rate | None
    created_at: datetime
    """Aware."""


def new_key(
    name: str,
    *,
    scopes: tuple[Scope, ...],
    models: tuple[str, ...] | None,
    rate: Rate | None,
) -> tuple[Key, str]:
    """A fresh key and its secret, which is kept nowhere. Raises: ValueError for the name."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{name[:80]!r} is no name of a key: letters, digits and . _ @ -, 64 at most"
        )
    secret = PREFIX + secrets.token_urlsafe(32)
    key = Key(
        name=name,
        sha256=_hash(secret),
        begins=secret[:SHOWN],
        scopes=scopes,
        models=models,
        rate=rate,
        created_at=datetime.now(UTC).replace(microsecond=0),
    )
    return key, secret


def find_key(keys: tuple[Key, ...], secret: str) -> Key | None:
    """The key with that secret, in a time that tells nothing of how much of it is right."""
    digest = _hash(secret)
    found = None
    for key in keys:
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found


class KeyFile:
    """The keys in one home."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.path = home / "keys.json"
        self._uses_path = home / "keys-used.json"

    def read(self) -> tuple[Key, ...]:
        """All keys, oldest first; none where there is no file.

        Raises:
            KeysUnusable: the file cannot be read, or is none of ours.
        """
        try:
            raw = _read_bounded(self.path)
            if raw is None:
                return ()
            listed = json.loads(raw)["keys"]
            return tuple(_parse(entry) for entry in listed[: MAX_KEYS + 1])
        except OSError as error:
            raise KeysUnusable(f"{self.path}: {(error.strerror or str(error)).lower()}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise KeysUnusable(
                f"{self.path} holds no keys that can be read",
                hint="restore the file, or remove it and make new keys",
            ) from error

    def stamp(self) -> tuple[int, int, int] | None:
        """What changes when the file does; None: there is no file. Raises: KeysUnusable."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KeysUnusable(f"{self.path}: {(error.strerror or str(error)).lower()}") from error
        return found.st_ino, found.st_mtime_ns, found.st_size

    def add(self, key: Key) -> None:
        """Keep one more key.

        Raises:
            ValueError: there is one of that name, or there are too many.
            KeysUnusable: the file cannot be read or written.
        """
        with self._changing() as keys:
            if any(other.name == key.name for other in keys):
                raise ValueError(f"there is a key named {key.name} already")
            if len(keys) >= MAX_KEYS:
                raise ValueError(f"there are {MAX_KEYS} keys already")
            keys.append(key)

    def remove(self, name: str) -> int | None:
        """Forget a key; how many are left. None: there is none of that name.

        Raises:
            KeysUnusable: the file cannot be read or written.
        """
        with self._changing() as keys:
            kept = [key for key in keys if key.name != name]
            if len(kept) == len(keys):
                return None
            keys[:] = kept
        return len(kept)

    def uses(self) -> dict[str, datetime]:
        """When keys were last used, by hash; never fails."""
        try:
            value = json.loads(_read_bounded(self._uses_path) or b"{}")
            times = {str(key): datetime.fromisoformat(time) for key, time in value.items()}
            return {key: time for key, time in times.items() if time.tzinfo is not None}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}

    def note_uses(self, uses: Mapping[str, datetime]) -> None:
        """Remember that keys were used, and forget those that are no more.

        Raises:
            OSError, KeysUnusable: a file cannot be read or written.
        """
        known = {key.sha256 for key in self.read()}
        merged = {key: time for key, time in (self.uses() | dict(uses)).items() if key in known}
        lines = {key: time.isoformat(timespec="seconds") for key, time in merged.items()}
        write_in_place(self._uses_path, json.dumps(lines) + "\n")

    @contextmanager
    def _changing(self) -> Iterator[list[Key]]:
        """The keys, to be changed by one process at a time, and written at the end."""
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._home / "keys.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                before = self.read()
                keys = list(before)
                yield keys
                if tuple(keys) != before:
                    entries = list(map(_entry, keys))
                    write_in_place(self.path, json.dumps({"keys": entries}, indent=1) + "\n")
            finally:
                os.close(lock)
        except OSError as error:
            path = error.filename or self.path
            raise KeysUnusable(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _read_bounded(path: Path) -> bytes | None:
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(raw) > MAX_FILE_BYTES:
        raise ValueError(f"{path} is too long")
    return raw


def _entry(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "sha256": key.sha256,
        "begins": key.begins,
        "scopes": list(key.scopes),
        "models": None if key.models is None else list(key.models),
        "rate": None if key.rate is None else str(key.rate),
        "created_at": key.created_at.isoformat(timespec="seconds"),
    }


def _parse(entry: Any) -> Key:
    """One entry of the file. Raises: ValueError, KeyError, TypeError."""
    name, sha256, begins = entry["name"], entry["sha256"], entry["begins"]
    models, rate = entry["models"], entry["rate"]
    created_at = datetime.fromisoformat(entry["created_at"])
    if (
        _NAME.fullmatch(name) is None
        or _HASH.fullmatch(sha256) is None
        or not isinstance(begins, str)
        or created_at.tzinfo is None
    ):
        raise ValueError("no key")
    return Key(
        name=name,
        sha256=sha256,
        begins=begins,
        scopes=tuple(map(Scope, entry["scopes"])),
        models=None if models is None else tuple(map(parse_pattern, models)),
        rate=None if rate is None else parse_rate(rate),
        created_at=created_at,
    )
