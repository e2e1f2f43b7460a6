"""What came out of packed layers: one record a layer, `unpacked/sha256-<hex of the layer>.json`.

Decides which blobs are wanted because the layer that they came out of is. Unpacking itself is the
formats' business (`formats.unpacking`).
"""

from collections.abc import Set
from pathlib import Path
from typing import Final

import msgspec

from olmkit.registry.digest import Digest
from olmkit.registry.errors import InvalidDigest, store_errors

_RECORD_LIMIT_BYTES: Final = 8 << 20


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file that a layer holds."""

    name: str
    digest: str
    size: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of one layer."""

    below: str
    files: tuple[File, ...]
    links: dict[str, str]
    """Symbolic and hard links: name to target, both from the layer's root."""


def read_record(path: Path) -> Record | None:
    """The record in a file; `None` when there is none that can be read."""
    try:
        raw = path.read_bytes()
        return msgspec.json.decode(raw, type=Record) if len(raw) <= _RECORD_LIMIT_BYTES else None
    except (OSError, msgspec.MsgspecError):
        return None


def wanted_with(folder: Path, used: Set[Digest]) -> set[Digest]:
    """Digests of the files that came out of layers among `used`."""
    wanted: set[Digest] = set()
    try:
        paths = list(folder.iterdir())
    except OSError:
        return wanted
    for path in paths:
        try:
            is_used = Digest(path.stem) in used
        except InvalidDigest:
            continue
        record = read_record(path) if is_used else None
        for file in record.files if record else ():
            try:
                wanted.add(Digest(file.digest))
            except InvalidDigest:
                continue
    return wanted


def forget_all_but(folder: Path, used: Set[Digest]) -> None:
    """Remove the records of layers that are not among `used`.

    Raises:
        StoreError: one cannot be removed.
    """
    try:
        paths = list(folder.iterdir())
    except OSError:
        return
    for path in paths:
        try:
            is_used = Digest(path.stem) in used
        except InvalidDigest:
            continue
        if not is_used:
            with store_errors(path, "remove"):
                path.unlink(missing_ok=True)
