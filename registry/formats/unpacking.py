"""Models inside tar layers: unpacked once, and kept as blobs for as long as the layer.

The files are blobs like all others, so a GGUF that is known already takes no room. What was taken
out can be taken out again: a record (`unpacked`) whose blobs are gone counts as none.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from olmkit.registry.errors import (
    Cancelled,
    SourceError,
    store_errors,
)
from olmkit.registry.events import BlobProgress, EventSink
from olmkit.registry.formats.parts import Role, role_of_name
from olmkit.registry.oci.manifest import Descriptor
from olmkit.registry.store import unpacked
from olmkit.registry.store.store import Store
from olmkit.registry.store.unpacked import File, Record
from olmkit.registry.tar import tarstream
from olmkit.registry.tar.tarstream import Kind, Member

SMALL_FILE_LIMIT_BYTES: Final = 4 << 20
"""Longest template, licence or the like; longer ones are not unpacked."""
GGUF_MAGIC: Final = b"GGUF"
_FILE_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The store to unpack in, the sink for progress, and the event that stops the work."""

    store: Store
    on_event: EventSink | None = None
    cancelled: threading.Event | None = None


def unpack(bench: Bench, layer: Descriptor, *, below: str = "") -> Record:
    """The model's files in a tar layer, which are blobs afterwards.

    Only GGUF files and what their names tell to be texts of a model, below the folder `below`.

    Raises:
        SourceError: no tar, or one that is not acceptable.
        Cancelled: `bench.cancelled` was set.
        StoreError: the layer cannot be read, or a file not be stored.
    """
    blobs = bench.store.blobs
    known = unpacked.find(blobs, layer.digest, below=below)
    if known is not None:
        return known
    with bench.store.lease():
        record = _unpacked(bench, layer, below)
    unpacked.remember(blobs, layer.digest, record)
    return record


def _unpacked(bench: Bench, layer: Descriptor, below: str) -> Record:
    from olmkit.registry.tar.compression import decompressed

    path = bench.store.blobs.check(layer.digest, layer.size_bytes)
    files: dict[str, File] = {}
    links: dict[str, str] = {}
    with store_errors(path, "read"), open(path, "rb") as source:

        def tell() -> None:
            _tell(bench, layer, source.tell())

        for member in tarstream.members(decompressed(source)):
            if not member.name.startswith(below):
                continue
            if member.kind is Kind.LINK:
                links[member.name] = tarstream.link_target(member.name, member.link)
            elif member.kind is Kind.OTHER:
                raise SourceError(f"layer {layer.digest.short} holds {member.name!r}, no file")
            elif member.kind is Kind.FILE and (file := _kept(bench.store, member, tell)):
                _require_portable(file.name)
                files[member.name] = file
            if len(files) + len(links) > _FILE_LIMIT:
                raise SourceError(f"layer {layer.digest.short} holds more than {_FILE_LIMIT} files")
    return Record(below=below, files=tuple(files.values()), links=links)


def _tell(bench: Bench, layer: Descriptor, completed_bytes: int) -> None:
    if bench.cancelled is not None and bench.cancelled.is_set():
        raise Cancelled("cancelled: nobody waits for the model")
    if bench.on_event is not None:
        bench.on_event(
            BlobProgress(
                label=f"unpacking {layer.digest.short}",
                completed_bytes=min(completed_bytes, layer.size_bytes),
                total_bytes=layer.size_bytes,
                digest=layer.digest,
            )
        )


def _kept(store: Store, member: Member, tell: Callable[[], None]) -> File | None:
    """The member as a blob, if it is something that olm uses."""
    head = _head(member)
    is_small = member.size_bytes <= SMALL_FILE_LIMIT_BYTES
    is_text = is_small and role_of_name(member.name) is not Role.OTHER
    if head != GGUF_MAGIC and not is_text:
        return None
    with store.blobs.writer(size_bytes=member.size_bytes) as writer:
        writer.write(head)
        for piece in iter(member.read, b""):
            writer.write(piece)
            tell()
        digest = writer.commit()
    return File(name=member.name, digest=str(digest), size=member.size_bytes)


def _require_portable(name: str) -> None:
    """Refuse a name that leads elsewhere on another system. Units of systemd have such names."""
    if "\\" in name or name[1:2] == ":":
        raise SourceError(f"the name {name[:100]!r} leads out of the archive")


def _head(member: Member) -> bytes:
    head = b""
    while len(head) < len(GGUF_MAGIC) and (piece := member.read(len(GGUF_MAGIC) - len(head))):
        head += piece
    return head
