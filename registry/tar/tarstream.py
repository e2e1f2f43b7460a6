"""Tar archives as streams: members in order, each read once, nothing held in memory.

Decides which archives are acceptable: relative names that stay inside, no devices, headers and
numbers of members within bounds. Knows nothing of what members mean and writes no file itself.

Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"; GNU's long names.
"""

import enum
import posixpath
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from olmkit.registry.errors import SourceError

BLOCK_BYTES: Final = 512
MEMBER_LIMIT: Final = 100_000
EXTENSION_LIMIT_BYTES: Final = 1 << 20
"""Longest extended header, which says more about the next member."""
END: Final = bytes(2 * BLOCK_BYTES)
_COPY_BYTES: Final = 1 << 20
_PAX_RECORD: Final = re.compile(rb"(\d{1,20}) ([^=]{1,256})=")
_GNU_NAME, _GNU_LINK = b"L", b"K"


class Reader(Protocol):
    """Something to read bytes from, once, in order."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


class Kind(enum.Enum):
    """The kinds of members."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"
    """A device, a pipe, or something unknown."""


class Member:
    """One member; its bytes can be read until the next one is asked for."""

    def __init__(self, source: Reader, name: str, kind: Kind, link: str, size_bytes: int) -> None:
        self.name = name
        """Relative and normalised name, with `/` between its parts."""
        self.kind = kind
        self.link = link
        """Target of a link, as written."""
        self.size_bytes = size_bytes
        self._source = source
        self._left_bytes = size_bytes

    def read(self, size: int = _COPY_BYTES) -> bytes:
        """At most `size` bytes; none at the member's end.

        Raises:
            SourceError: the archive ends before the member does.
        """
        wanted = min(size, self._left_bytes)
        data = self._source.read(wanted) if wanted else b""
        if wanted and not data:
            raise SourceError(f"the archive ends in the midst of {self.name[:100]!r}")
        self._left_bytes -= len(data)
        return data

    def read_all(self, limit_bytes: int) -> bytes:
        """The whole member.

        Raises:
            SourceError: it is longer than `limit_bytes`, or cut off.
        """
        if self.size_bytes > limit_bytes:
            raise SourceError(
                f"{self.name[:100]!r} has {self.size_bytes} bytes, {limit_bytes} are allowed"
            )
        return b"".join(iter(self.read, b""))

    def skip(self) -> None:
        """Read on to the end of the member and its padding."""
        while self.read():
            pass
        padding = -self.size_bytes % BLOCK_BYTES
        if padding:
            _exactly(self._source, padding)


def members(source: Reader, *, limit: int = MEMBER_LIMIT) -> Iterator[Member]:
    """The members of the archive in order; one is to be read before the next is asked for.

    Raises:
        SourceError: no tar, cut off, a member that leads outside, or over a limit.
    """
    for count, member in enumerate(_members(source)):
        if count >= limit:
            raise SourceError(f"the archive has more than {limit} members")
        yield member
        member.skip()


@dataclass(slots=True)
class _Extension:
    """What extended headers say of the next member."""

    name: str | None = None
    link: str | None = None
    size_bytes: int | None = None
    count: int = 0


def _members(source: Reader) -> Iterator[Member]:
    extension = _Extension()
    while True:
        block = _exactly(source, BLOCK_BYTES)
        if not any(block):
            _drain(source)
            return
        info = _parsed(block)
        if info.type in (tarfile.XHDTYPE, _GNU_NAME, _GNU_LINK):
            _extend(extension, info, _extension_data(source, info))
        elif info.type in (b"g", b"V"):
            _extension_data(source, info)
        else:
            yield _member(source, info, extension)
            extension = _Extension()


def _parsed(block: bytes) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise SourceError(f"this is no tar archive, or it is broken: {error}") from error
    if info.size < 0:
        raise SourceError("the archive is broken: a member has a negative size")
    return info


def _extension_data(source: Reader, info: tarfile.TarInfo) -> bytes:
    if info.size > EXTENSION_LIMIT_BYTES:
        raise SourceError(f"the archive has a header of {info.size} bytes")
    return _exactly(source, info.size + -info.size % BLOCK_BYTES)[: info.size]


def _extend(extension: _Extension, info: tarfile.TarInfo, data: bytes) -> None:
    extension.count += 1
    if extension.count > 8:
        raise SourceError("the archive extends one header many times")
    text = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
    if info.type == _GNU_NAME:
        extension.name = text
    elif info.type == _GNU_LINK:
        extension.link = text
    else:
        _apply_pax(extension, data)


def _apply_pax(extension: _Extension, data: bytes) -> None:
    position = 0
    while position < len(data) and data[position]:
        match = _PAX_RECORD.match(data, position)
        length = int(match[1]) if match else 0
        end = position + length
        if match is None or end > len(data) or match.end() >= end:
            raise SourceError("the archive is broken: an extended header cannot be read")
        value = data[match.end() : end - 1].decode("utf-8", "surrogateescape")
        if match[2] == b"path":
            extension.name = value
        elif match[2] == b"linkpath":
            extension.link = value
        elif match[2] == b"size":
            if not (value.isascii() and value.isdecimal() and len(value) <= 18):
                raise SourceError("the archive is broken: a size is no number")
            extension.size_bytes = int(value)
        elif match[2].startswith(b"GNU.sparse"):
            raise SourceError("the archive holds a sparse file, which olm does not read")
        position = end


def _member(source: Reader, info: tarfile.TarInfo, extension: _Extension) -> Member:
    name = safe_name(info.name if extension.name is None else extension.name)
    link = info.linkname if extension.link is None else extension.link
    size_bytes = info.size if extension.size_bytes is None else extension.size_bytes
    if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE):
        return Member(source, name, Kind.FILE, "", size_bytes)
    if info.type == tarfile.GNUTYPE_SPARSE:
        raise SourceError("the archive holds a sparse file, which olm does not read")
    if info.type == tarfile.DIRTYPE:
        return Member(source, name, Kind.FOLDER, "", 0)
    if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        return Member(source, name, Kind.LINK, link, 0)
    has_none = info.type in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
    return Member(source, name, Kind.OTHER, "", 0 if has_none else size_bytes)


def safe_name(name: str) -> str:
    """The name, normalised; it stays inside of whatever folder it is put into.

    Raises:
        SourceError: it is absolute, climbs with `..`, or holds what no file's name does.
    """
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\0" in name or len(name) > 4096:
        raise SourceError(f"the name {name[:100]!r} leads out of the archive")
    return posixpath.normpath(name) if name else "."


def link_target(name: str, link: str) -> str:
    """The member that the link `name` points to, seen from the archive's root.

    Absolute targets count from the root, as they do in an image.

    Raises:
        SourceError: it leads out.
    """
    joined = link.lstrip("/") if link.startswith("/") else f"{posixpath.dirname(name)}/{link}"
    target = posixpath.normpath(joined.lstrip("/"))
    if target == ".." or target.startswith("../"):
        raise SourceError(f"the link {name[:100]!r} leads out of the archive")
    return target


def _exactly(source: Reader, count: int) -> bytes:
    pieces = []
    while count:
        piece = source.read(min(count, _COPY_BYTES))
        if not piece:
            raise SourceError("the archive is cut off")
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _drain(source: Reader) -> None:
    """Read what follows the end mark, so that the writer of a pipe does not break and a checksum is
    read."""
    while source.read(_COPY_BYTES):
        pass


def header(name: str, size_bytes: int, *, mode: int = 0o644) -> bytes:
    """The header of a file to be written: equal arguments give equal bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, mode
    return info.tobuf(tarfile.PAX_FORMAT)


def padding(size_bytes: int) -> bytes:
    """The zeros that fill a member's last block."""
    return bytes(-size_bytes % BLOCK_BYTES)
