"""What was made of blobs that cannot be used as they are: one record a blob.

    unpacked/sha256-<hex>.json    files of a packed layer; the one file that shards make

Decides which blobs are wanted because the one that they were made of is. Making them is the
business of others (`formats.unpacking`, the engine); it can always be done again.
"""

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Final

import msgspec

from olmkit.registry.errors import InvalidDigest, store_errors
from olmkit.registry.oci.digest import Digest
from olmkit.registry.replacing import replace
from olmkit.registry.store.blobs import BlobStore

_RECORD_LIMIT_BYTES: Final = 8 << 20


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file that a layer holds."""

    name: str
    digest: str
    size: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The files that came out of one layer."""

    below: str
    """How they were made: the folder that was unpacked, or the shards that were merged."""
    files: tuple[File, ...]
    links: dict[str, str]
    """Symbolic and hard links: name to target, both from the layer's root."""


def find(blobs: BlobStore, digest: Digest, *, below: str) -> Record | None:
    """The record of what was made of a blob in this way; `None` if any file of it is gone."""
    record = read_record(_path(blobs, digest))
    if record is None or record.below != below:
        return None
    try:
        is_whole = all(blobs.has(Digest(file.digest), file.size) for file in record.files)
    except InvalidDigest:
        return None
    return record if is_whole else None


def remember(blobs: BlobStore, digest: Digest, record: Record) -> None:
    """Write the record of what was made of a blob.

    Raises:
        StoreError: it cannot be written.
    """
    path = _path(blobs, digest)
    with blobs.workspace() as folder:
        staged = folder / "record"
        with store_errors(path, "write"):
            path.parent.mkdir(parents=True, exist_ok=True)
            staged.write_bytes(msgspec.json.encode(record))
            replace(staged, path)


def _path(blobs: BlobStore, digest: Digest) -> Path:
    return blobs.unpacked / f"{digest.file_name}.json"


def read_record(path: Path) -> Record | None:
    """The record in a file; `None` when there is none that can be read."""
    try:
        raw = path.read_bytes()
        return msgspec.json.decode(raw, type=Record) if len(raw) <= _RECORD_LIMIT_BYTES else None
    except (OSError, msgspec.MsgspecError):
        return None


def wanted_with(folder: Path, used: Set[Digest]) -> set[Digest]:
    """Digests of the files that were made of blobs among `used`, and of what was made of those."""
    made = dict(_records(folder))
    wanted: set[Digest] = set()
    following = [record for digest, record in made.items() if digest in used]
    while following:
        new = {digest for record in following for digest in _digests(record)} - wanted
        wanted |= new
        following = [made[digest] for digest in new if digest in made]
    return wanted


def _records(folder: Path) -> Iterator[tuple[Digest, Record]]:
    try:
        paths = list(folder.iterdir())
    except OSError:
        return
    for path in paths:
        record = read_record(path)
        try:
            digest = Digest(path.stem)
        except InvalidDigest:
            continue
        if record is not None:
            yield digest, record


def _digests(record: Record) -> Iterator[Digest]:
    for file in record.files:
        try:
            yield Digest(file.digest)
        except InvalidDigest:
            continue


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
