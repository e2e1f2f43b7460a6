"""OCI layouts in folders, read as the archives that `registry.archive` takes.

Source: OCI image-spec 1.1, image-layout.md.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from olmkit.registry import tarstream
from olmkit.registry.digest import BLOCK_BYTES
from olmkit.registry.errors import SourceError, StoreError, store_errors

_BLOB: Final = re.compile(r"[0-9a-f]{64}")


def folder_archive(folder: Path) -> Iterator[bytes]:
    """The tar archive of the OCI layout in a folder; links are not followed.

    Raises:
        SourceError: there is no layout.
        StoreError: it cannot be read, or changes meanwhile.
    """
    if not (folder / "oci-layout").is_file():
        raise SourceError(f"{folder} is no OCI image layout: it holds no file `oci-layout`")
    blobs = folder / "blobs" / "sha256"
    with store_errors(blobs, "read"):
        names = sorted(name for name in os.listdir(blobs) if _BLOB.fullmatch(name))
    for name in ("oci-layout", "index.json", *(f"blobs/sha256/{name}" for name in names)):
        yield from _member(folder / name, name)
    yield tarstream.END


def _member(path: Path, name: str) -> Iterator[bytes]:
    with store_errors(path, "read"):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with open(fd, "rb", buffering=0) as file:
            size_bytes = left_bytes = os.fstat(fd).st_size
            yield tarstream.header(name, size_bytes)
            while left_bytes and (piece := file.read(min(BLOCK_BYTES, left_bytes))):
                left_bytes -= len(piece)
                yield piece
    if left_bytes:
        raise StoreError(f"{path} was changed while it was read", path=str(path))
    yield tarstream.padding(size_bytes)
