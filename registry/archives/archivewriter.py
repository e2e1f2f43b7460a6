"""Models into files that cross an air gap: OCI image layouts in tar archives.

    oci-layout  index.json  blobs/sha256/<hex>

Decides the order of an archive: what names things and who signed them come first.

Source: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from olmkit.registry import formats
from olmkit.registry.archives.listing import (
    ANNOTATION_INDEXES,
    ANNOTATION_KIND,
    KIND_MODEL,
)
from olmkit.registry.errors import CorruptBlob, store_errors
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import BLOCK_BYTES, Digest
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store, StoredModel
from olmkit.registry.tar import tarstream

if TYPE_CHECKING:  # cryptography, which comes with the first signature
    from olmkit.registry.archives.archivedsignatures import KeptSignatures

LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A model as it goes into an archive."""

    reference: Reference
    manifest: Manifest
    """The model's manifest in the OCI's form; `formats.from_oci` gives the stored one back."""
    small: Mapping[Digest, bytes]
    """Blobs of the manifest that the store does not have."""
    signatures: "KeptSignatures | None" = None
    """What the store keeps of who signed the model; None: nothing."""


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
    return Saved(
        reference=model.reference,
        manifest=manifest,
        small=small,
        signatures=_kept_signatures(store, model),
    )


def _kept_signatures(store: Store, model: StoredModel) -> "KeptSignatures | None":
    from olmkit.registry.archives.archivedsignatures import kept_signatures

    return kept_signatures(store, model)


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
    """What comes before the blobs: the layout's two files, the manifests, and all of signatures.

    A reader thus knows whose the models are before the first large blob.
    """
    beside = {
        entry.annotations[mediatypes.ANNOTATION_REF_NAME]: entry
        for model in models
        if model.signatures is not None
        for entry in model.signatures.entries
    }
    listed = [*map(_entry, models), *beside.values()]
    index = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": listed}
    files = {"oci-layout": LAYOUT, "index.json": msgspec.json.encode(index, enc_hook=str)}
    files |= {_blob_path(digest): data for digest, data in _head_blobs(models).items()}
    for name, data in files.items():
        yield tarstream.header(name, len(data)) + data + tarstream.padding(len(data))


def _entry(model: Saved) -> Descriptor:
    """A model in the list; of one that is signed also what finds and checks its signatures."""
    notes = {mediatypes.ANNOTATION_REF_NAME: model.reference.full}
    if model.signatures is not None:
        notes[ANNOTATION_KIND] = KIND_MODEL
        if model.signatures.indexes:
            digests = (str(Digest.of(raw)) for raw in model.signatures.indexes)
            notes[ANNOTATION_INDEXES] = ",".join(digests)
    return Descriptor(
        media_type=model.manifest.media_type,
        digest=model.manifest.digest,
        size_bytes=len(model.manifest.raw),
        artifact_type=model.manifest.artifact_type,
        annotations=notes,
    )


def _head_blobs(models: Sequence[Saved]) -> dict[Digest, bytes]:
    found = {model.manifest.digest: model.manifest.raw for model in models}
    for model in models:
        if model.signatures is not None:
            found |= model.signatures.blobs
    return found


def _blobs(models: Sequence[Saved]) -> Iterator[Descriptor]:
    """The blobs of all models, each once."""
    seen = set(_head_blobs(models))
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
