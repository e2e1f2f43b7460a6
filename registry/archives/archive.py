"""Models as files that cross an air gap: OCI image layouts in tar archives.

    oci-layout  index.json  blobs/sha256/<hex>

Decides the order of an archive (what names things comes first), which names models get back, and
that nothing of an archive is believed before its digest was checked. Blobs go straight into the
store as they come; a model's name appears only once all of its blobs are there.

Source: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
and https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md
"""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from olmkit.registry import formats
from olmkit.registry.errors import (
    Cancelled,
    CorruptBlob,
    InvalidReference,
    RegistryError,
    SourceError,
    store_errors,
)
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import BLOCK_BYTES, Digest
from olmkit.registry.oci.manifest import MANIFEST_LIMIT_BYTES, Descriptor, Index, Manifest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store, StoredModel
from olmkit.registry.tar import tarstream
from olmkit.registry.tar.tarstream import Kind, Member, Reader

LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
ANNOTATION_CONTAINERD_NAME: Final = "io.containerd.image.name"
"""The whole name, in archives of Docker and containerd; `ref.name` is the tag alone there."""
_BLOB_NAME: Final = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_LAYOUT_LIMIT_BYTES: Final = 4096
_MEMORY_LIMIT_BYTES: Final = 32 << 20
"""Most bytes of small blobs that are kept in memory because they may be manifests."""
_MODEL_LIMIT: Final = 256
_INDEX_DEPTH: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A model as it goes into an archive."""

    reference: Reference
    manifest: Manifest
    """The model's manifest in the OCI's form; `formats.from_oci` gives the stored one back."""
    small: Mapping[Digest, bytes]
    """Blobs of the manifest that the store does not have."""


def to_save(store: Store, models: Iterable[StoredModel]) -> tuple[Saved, ...]:
    """What goes into an archive of these models. Hold `store.lease()` until it is written.

    Nothing is written to the store, which may be read-only.

    Raises:
        RegistryError: a model cannot be read.
    """
    return tuple(_saved(store, model) for model in models)


def _saved(store: Store, model: StoredModel) -> Saved:
    small: dict[Digest, bytes] = {}

    def put(data: bytes) -> Digest:
        digest = Digest.of(data)
        small[digest] = data
        return digest

    manifest = formats.as_oci(store, model.manifest, put)
    return Saved(reference=model.reference, manifest=manifest, small=small)


def archive_size(models: Sequence[Saved]) -> int:
    """Bytes that `write_archive` gives for these models."""
    blobs = sum(
        len(tarstream.header(_blob_path(blob.digest), blob.size_bytes))
        + blob.size_bytes
        + len(tarstream.padding(blob.size_bytes))
        for blob in _blobs(models)
    )
    return sum(map(len, _heads(models))) + blobs + len(tarstream.END)


def write_archive(store: Store, models: Sequence[Saved]) -> Iterator[bytes]:
    """The archive of these models, piece by piece; each blob in it once, hashed on the way.

    Equal models give equal bytes.

    Raises:
        CorruptBlob: a blob holds other bytes than its digest says; the archive is of no use then.
        StoreError: a blob is absent or cannot be read.
    """
    yield from _heads(models)
    small = {digest: data for model in models for digest, data in model.small.items()}
    for blob in _blobs(models):
        yield tarstream.header(_blob_path(blob.digest), blob.size_bytes)
        if blob.digest in small:
            yield small[blob.digest]
        else:
            yield from _content(store, blob)
        yield tarstream.padding(blob.size_bytes)
    yield tarstream.END


def _blob_path(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def _heads(models: Sequence[Saved]) -> Iterator[bytes]:
    """What comes before the blobs: the layout's two files, and the manifests."""
    listed = [
        Descriptor(
            media_type=model.manifest.media_type,
            digest=model.manifest.digest,
            size_bytes=len(model.manifest.raw),
            artifact_type=model.manifest.artifact_type,
            annotations={mediatypes.ANNOTATION_REF_NAME: model.reference.full},
        )
        for model in models
    ]
    index = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": listed}
    files = {"oci-layout": LAYOUT, "index.json": msgspec.json.encode(index, enc_hook=str)}
    files |= {_blob_path(model.manifest.digest): model.manifest.raw for model in models}
    for name, data in files.items():
        yield tarstream.header(name, len(data)) + data + tarstream.padding(len(data))


def _blobs(models: Sequence[Saved]) -> Iterator[Descriptor]:
    """The blobs of all models, each once."""
    seen = {model.manifest.digest for model in models}
    for model in models:
        for blob in model.manifest.blobs:
            if blob.digest not in seen:
                seen.add(blob.digest)
                yield blob


def _content(store: Store, blob: Descriptor) -> Iterator[bytes]:
    path = store.blobs.check(blob.digest, blob.size_bytes)
    hasher = hashlib.sha256()
    left_bytes = blob.size_bytes
    with store_errors(path, "read"), open(path, "rb", buffering=0) as file:
        while left_bytes and (piece := file.read(min(BLOCK_BYTES, left_bytes))):
            hasher.update(piece)
            left_bytes -= len(piece)
            yield piece
    if left_bytes or hasher.hexdigest() != blob.digest.hex:
        raise CorruptBlob(
            f"blob {blob.digest} holds other bytes: {path}",
            path=str(path),
            expected=blob.digest,
            actual=f"sha256:{hasher.hexdigest()}",
            hint="pull or create the model again",
        )


@dataclass(slots=True)
class _Received:
    """The parts of an archive that were read so far."""

    has_layout: bool = False
    raw_index: bytes | None = None
    small: dict[Digest, bytes] = field(default_factory=dict)
    """Small blobs, verified, that may be manifests, configs or layers."""
    small_bytes: int = 0


def load_archive(
    store: Store,
    source: Reader,
    *,
    name: Reference | None = None,
    only: str | None = None,
    cancelled: threading.Event | None = None,
) -> list[StoredModel]:
    """Bring the models of an archive into the store, and return them in its order.

    The archive is compressed by zstd or gzip, or plain. `only` selects the model that the archive
    calls so, in its own spelling. `name` is the name for the one model that is then left, in place
    of the archive's.

    When anything is wrong, or nobody waits any more, no model appears: blobs that came whole until
    then are collected later.

    Raises:
        SourceError: no OCI layout, broken, cut off, not acceptable, or models without names.
        CorruptBlob: bytes that are not those of their digest.
        Cancelled: `cancelled` was set.
        StoreError, DiskFull: the store cannot take it.
    """
    from olmkit.registry.tar.compression import decompressed

    with store.lease():
        received = _Received()
        for member in tarstream.members(decompressed(source)):
            _go_on(cancelled)
            if member.kind is Kind.FILE:
                _receive(store, received, member)
            elif member.kind in (Kind.LINK, Kind.OTHER) and member.name.startswith("blobs/"):
                raise SourceError(f"the archive holds {member.name[:100]!r}, which is no file")
        named = _named_manifests(store, received, name, only)
        for _, manifest in named:
            _go_on(cancelled)
            _settle(store, received, manifest)
        originals = {}
        for reference, manifest in named:
            _go_on(cancelled)
            originals[reference] = formats.from_oci(store, manifest)
            parts = formats.read(store, originals[reference], cancelled=cancelled)
            formats.require_model(parts, originals[reference], reference.short)
        return _put_all(store, originals, cancelled)


def _go_on(cancelled: threading.Event | None) -> None:
    if cancelled is not None and cancelled.is_set():
        raise Cancelled("cancelled: nobody waits for the archive")


def _put_all(
    store: Store, manifests: Mapping[Reference, Manifest], cancelled: threading.Event | None
) -> list[StoredModel]:
    """Give all of the models their names, or none: names that were given go back."""
    before: dict[Reference, Manifest | None] = {}
    try:
        for reference, manifest in manifests.items():
            _go_on(cancelled)
            before[reference] = _stored(store, reference)
            store.put(reference, manifest)
        return [store.load(reference) for reference in manifests]
    except BaseException:
        for reference, earlier in before.items():
            with contextlib.suppress(RegistryError):
                if earlier is not None:
                    store.put(reference, earlier)
                elif _stored(store, reference) is not None:
                    store.remove(reference)
        raise


def _stored(store: Store, reference: Reference) -> Manifest | None:
    try:
        return store.load(reference).manifest
    except RegistryError:
        return None


def _receive(store: Store, received: _Received, member: Member) -> None:
    if member.name == "oci-layout":
        received.has_layout = _is_layout(member.read_all(_LAYOUT_LIMIT_BYTES))
    elif member.name == "index.json":
        received.raw_index = member.read_all(MANIFEST_LIMIT_BYTES)
    elif match := _BLOB_NAME.fullmatch(member.name):
        digest = Digest(f"sha256:{match[1]}")
        room = _MEMORY_LIMIT_BYTES - received.small_bytes
        if member.size_bytes <= min(MANIFEST_LIMIT_BYTES, room):
            data = member.read_all(MANIFEST_LIMIT_BYTES)
            if Digest.of(data) != digest:
                raise _corrupt(digest, Digest.of(data))
            received.small[digest] = data
            received.small_bytes += len(data)
        else:
            _store(store, digest, member)


def _is_layout(raw: bytes) -> bool:
    try:
        value = json.loads(raw)
    except ValueError:
        return False
    return isinstance(value, dict) and str(value.get("imageLayoutVersion", "")).startswith("1.")


def _corrupt(digest: Digest, actual: Digest) -> CorruptBlob:
    return CorruptBlob(
        f"the archive's content of {digest} does not match: got {actual}",
        path="",
        expected=digest,
        actual=actual,
        hint="the archive is damaged: copy it again",
    )


def _store(store: Store, digest: Digest, member: Member) -> None:
    if store.blobs.has(digest, member.size_bytes):
        return  # what is there was verified; the member is read over
    with store.blobs.writer(expected=digest, size_bytes=member.size_bytes) as writer:
        while piece := member.read():
            writer.write(piece)
        writer.commit()


def _named_manifests(
    store: Store, received: _Received, name: Reference | None, only: str | None
) -> list[tuple[Reference, Manifest]]:
    if not received.has_layout or received.raw_index is None:
        raise SourceError(
            "the archive is no OCI image layout", hint="`olm save` and `skopeo copy` write those"
        )
    entries = Index.parse(received.raw_index).manifests
    if only is not None:
        entries = tuple(entry for entry in entries if only in _names_in(entry))
        if not entries:
            raise SourceError(f"the archive has no model that it calls {only[:100]!r}")
    if not entries or len(entries) > _MODEL_LIMIT:
        raise SourceError(f"the archive lists {len(entries)} models")
    if name is not None and len(entries) > 1:
        raise SourceError(f"the archive holds {len(entries)} models, so one name does not do")
    found: dict[Reference, Manifest] = {}
    for entry in entries:
        reference = name or _name_of(entry)
        found[reference] = _manifest_of(store, received, entry)
    return list(found.items())


def _names_in(entry: Descriptor) -> list[str]:
    """What the archive calls a model, the whole name first."""
    keys = (ANNOTATION_CONTAINERD_NAME, mediatypes.ANNOTATION_REF_NAME)
    return [text for key in keys if (text := entry.annotations.get(key))]


def _name_of(entry: Descriptor) -> Reference:
    text = next(iter(_names_in(entry)), None)
    if text is None:
        raise SourceError(
            f"the archive gives model {entry.digest.short} no name",
            hint="give it one: olm load --name NAME",
        )
    try:
        return Reference.parse(text)
    except InvalidReference as error:
        raise SourceError(
            f"the archive names a model {text[:100]!r}, which is no name: {error}",
            hint="give it another: olm load --name NAME",
        ) from error


def _manifest_of(store: Store, received: _Received, entry: Descriptor) -> Manifest:
    """The manifest of an entry; of an index among them, its first model."""
    for _ in range(_INDEX_DEPTH):
        raw = received.small.get(entry.digest)
        if raw is None:
            raw = _large_manifest(store, entry)
        if entry.media_type not in (mediatypes.OCI_INDEX, mediatypes.DOCKER_MANIFEST_LIST):
            return Manifest.parse(raw)
        inner = [e for e in Index.parse(raw).manifests if not _is_attestation(e)]
        if not inner:
            break
        entry = inner[0]
    raise SourceError(f"the archive's index {entry.digest.short} leads to no model")


def _large_manifest(store: Store, entry: Descriptor) -> bytes:
    try:
        return store.blobs.read_small(entry.digest, MANIFEST_LIMIT_BYTES)
    except RegistryError as error:
        raise SourceError(f"the archive lacks the manifest {entry.digest.short}") from error


def _is_attestation(entry: Descriptor) -> bool:
    return (entry.platform or {}).get("os") == "unknown"


def _settle(store: Store, received: _Received, manifest: Manifest) -> None:
    """Store the small blobs that a manifest names, and refuse a manifest that lacks one."""
    for blob in manifest.blobs:
        data = received.small.get(blob.digest)
        if data is not None:
            store.blobs.put_bytes(data)
        elif not store.blobs.has(blob.digest, blob.size_bytes):
            raise SourceError(f"the archive lacks blob {blob.digest}, which a model needs")
