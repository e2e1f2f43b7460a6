"""Reading wheels as the untrusted archives that they are: bounded, and never onto the disk."""

import base64
import csv
import io
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

from olmkit.registry.errors import InvalidDigest, SourceError
from olmkit.registry.oci.digest import BLOCK_BYTES, Digest
from olmkit.registry.oci.reference import normalized_package

_ENTRIES_LIMIT = 20_000
_METADATA_LIMIT_BYTES = 4 << 20
_RATIO_LIMIT = 200
"""Largest factor by which an entry may expand: weights hardly shrink, bombs expand a
thousandfold."""
_RATIO_FREE_BYTES = 64 << 20
Blocks = Generator[bytes, None, None]
_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*\(?\s*==\s*([A-Za-z0-9._+!-]+)\s*\)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """An unconditional requirement of exactly one version."""

    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.package}=={self.version}"


class Wheel:
    """An open wheel."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.file_name = path.name
        infos = [info for info in archive.infolist() if not info.filename.endswith("/")]
        self._entries = {info.filename: info for info in infos}
        if len(infos) > _ENTRIES_LIMIT:
            raise self._bad(f"holds more than {_ENTRIES_LIMIT} files")
        if len(self._entries) != len(infos):
            raise self._bad("holds two files of one name")
        folders = {name.partition("/")[0] for name in self._entries}
        information = sorted(name for name in folders if name.endswith(".dist-info"))
        if len(information) != 1:
            raise self._bad(f"has {len(information)} .dist-info folders instead of one")
        self.information = information[0]
        metadata = self._required_text("METADATA")
        headers = HeaderParser().parsestr(metadata)
        self.package = normalized_package(str(headers.get("Name", "")))
        self.version = str(headers.get("Version", ""))
        self._requirements = [str(value) for value in headers.get_all("Requires-Dist", [])]

    @property
    def names(self) -> list[str]:
        """All files, in the archive's order."""
        return list(self._entries)

    def named(self, pattern: re.Pattern[str]) -> list[str]:
        """The files whose last component matches the whole pattern, sorted."""
        return sorted(n for n in self._entries if pattern.fullmatch(PurePosixPath(n).name))

    def size_bytes(self, name: str) -> int:
        """Size of a file, unpacked, as the archive declares it; reading never gives more."""
        return self._entries[name].file_size

    def pins(self) -> list[Pin]:
        """The requirements of exactly one version and without conditions, in declared order."""
        matches = [_PINNED.fullmatch(text.strip()) for text in self._requirements]
        return [Pin(package=normalized_package(m[1]), version=m[2]) for m in matches if m]

    def recorded_digest(self, name: str) -> Digest | None:
        """The sha256 that the wheel's RECORD gives for a file; `None` when it gives none."""
        text = self.read_text(f"{self.information}/RECORD", _METADATA_LIMIT_BYTES) or ""
        try:
            for row in csv.reader(io.StringIO(text)):
                if len(row) >= 2 and row[0] == name and row[1].startswith("sha256="):
                    encoded = row[1].removeprefix("sha256=") + "="
                    return Digest("sha256:" + base64.urlsafe_b64decode(encoded).hex())
        except (csv.Error, ValueError, InvalidDigest) as error:
            raise self._bad(f"has a RECORD that cannot be read for {name}") from error
        return None

    def read_text(self, name: str, limit_bytes: int) -> str | None:
        """A file's text; `None` when absent, longer than the limit, or not UTF-8."""
        info = self._entries.get(name)
        if info is None or info.file_size > limit_bytes:
            return None
        try:
            return b"".join(self.blocks(name)).decode()
        except UnicodeDecodeError:
            return None

    def blocks(self, name: str) -> Blocks:
        """A file's bytes in blocks, unpacked on the way; who stops early closes it.

        Raises:
            SourceError: the archive is damaged, encrypted, or expands beyond measure.
        """
        info = self._entries[name]
        if info.file_size > _RATIO_FREE_BYTES + _RATIO_LIMIT * info.compress_size:
            raise self._bad(f"holds {name}, which expands beyond measure")
        with self._readable(), self._archive.open(info) as file:
            while block := file.read(BLOCK_BYTES):
                yield block

    def _required_text(self, name: str) -> str:
        text = self.read_text(f"{self.information}/{name}", _METADATA_LIMIT_BYTES)
        if text is None:
            raise self._bad(f"has no readable {name}")
        return text

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            raise self._bad(f"cannot be read: {error}") from error

    def _bad(self, what: str) -> SourceError:
        return SourceError(f"the wheel {self.file_name} {what}")


_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
)
"""What zipfile raises for damaged archives, unknown methods, encryption and bad headers."""


@contextmanager
def opened(path: Path) -> Iterator[Wheel]:
    """The wheel at `path`, open for the block.

    Raises:
        SourceError: it is no wheel.
    """
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise SourceError(f"the wheel {path.name} cannot be read: {error}") from error
    with archive:
        yield Wheel(path, archive)
