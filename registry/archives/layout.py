"""OCI layouts in folders, read as the archives that `registry.archives.archivereader` takes.

Source: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from olmkit.registry.errors import SourceError, StoreError, store_errors
from olmkit.registry.oci.digest import BLOCK_BYTES
from olmkit.registry.tar import tarstream

SCHEMES: Final = ("oci", "oci-archive")
_BLOB: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A model, or all models, of a layout on this machine."""

    path: Path
    """A folder, or an archive of one."""
    name: str
    """What the layout calls the model; empty for all."""


def parse_location(text: str) -> Location | None:
    """What `oci:PATH[:NAME]` or `oci-archive:PATH[:NAME]` means; `None` for other texts.

    Raises:
        SourceError: there is no path.
    Source: containers-transports(5), whose paths hold no colon.
    """
    scheme, colon, rest = text.partition(":")
    if scheme not in SCHEMES or not colon or rest.startswith("//"):
        return None
    path, _, name = rest.partition(":")
    if not path:
        raise SourceError(f"{text!r} names no path", hint="such as oci:./layout:llama3")
    return Location(path=Path(path), name=name)


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
