"""Models out of archives: OCI image layouts in tar files, as `olm save` and other tools write them.

Decides which names models get back, and that nothing of an archive is believed before its digest
was checked. Blobs go straight into the store as they come; a model's name appears only once all of
its blobs are there, and only if the rules that are given have nothing against it.

Source: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
and https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md
"""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from olmkit.registry import formats
from olmkit.registry.archives.listing import Listing, indexes_of, is_attestation, parse_listing
from olmkit.registry.errors import Cancelled, CorruptBlob, RegistryError, SourceError
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import MANIFEST_LIMIT_BYTES, Descriptor, Index, Manifest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store, StoredModel
from olmkit.registry.tar import tarstream
from olmkit.registry.tar.tarstream import Kind, Member, Reader

if TYPE_CHECKING:  # cryptography, which comes with the first signature or policy
    from olmkit.registry.signatures.evidence import Evidence
    from olmkit.registry.signatures.policy import Rule

    RulesFor = Callable[[Reference], Sequence[Rule]]

_BLOB_NAME: Final = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_LAYOUT_LIMIT_BYTES: Final = 4096
_MEMORY_LIMIT_BYTES: Final = 32 << 20
"""Most bytes of small blobs that are kept in memory because they may be manifests."""
_INDEX_DEPTH: Final = 4


@dataclass(slots=True)
class _Received:
    """The parts of an archive that were read so far."""

    has_layout: bool = False
    listing: Listing | None = None
    small: dict[Digest, bytes] = field(default_factory=dict)
    """Small blobs, verified, that may be manifests, configs or layers."""
    small_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrived:
    """A model as an archive has it."""

    reference: Reference
    manifest: Manifest
    indexes: Sequence[bytes]
    """Those that led to the manifest, the outermost first."""


def load_archive(
    store: Store,
    source: Reader,
    *,
    name: Reference | None = None,
    only: str | None = None,
    rules: "RulesFor | None" = None,
    cancelled: threading.Event | None = None,
) -> list[StoredModel]:
    """Bring the models of an archive into the store, and return them in its order.

    The archive is compressed by zstd or gzip, or plain. `only` selects the model that the archive
    calls so, in its own spelling. `name` is the name for the one model that is then left, in place
    of the archive's. `rules` tells what has to be true of the model of a name; the archive's own
    signatures decide about that, and are kept in the store.

    When anything is wrong, or nobody waits any more, no model appears: blobs that came whole until
    then are collected later.

    Raises:
        SourceError: no OCI layout, broken, cut off, not acceptable, or models without names.
        CorruptBlob: bytes that are not those of their digest.
        NotTrusted: one of the rules is against a model.
        Cancelled: `cancelled` was set.
        StoreError, DiskFull: the store cannot take it.
    """
    with store.lease():
        received = _received(store, source, name, only, rules, cancelled)
        arrived = [
            _arrived(store, received, reference, entry)
            for reference, entry in _listing(received).models
        ]
        for one in arrived:
            _go_on(cancelled)
            _settle(store, received, one.manifest)
        originals, evidences = {}, []
        for one in arrived:
            _go_on(cancelled)
            original = formats.from_oci(store, one.manifest)
            evidence = _admitted(store, received, one, original.digest, rules)
            parts = formats.read(store, original, cancelled=cancelled)
            formats.require_model(parts, original, one.reference.short)
            originals[one.reference] = original
            evidences.append(evidence)
        models = _put_all(store, originals, cancelled)
        _keep(store, evidences)
        return models


def _received(
    store: Store,
    source: Reader,
    name: Reference | None,
    only: str | None,
    rules: "RulesFor | None",
    cancelled: threading.Event | None,
) -> _Received:
    """All of an archive, large blobs in the store; one that its list forbids is not read on."""
    from olmkit.registry.tar.compression import decompressed

    received = _Received()
    for member in tarstream.members(decompressed(source)):
        _go_on(cancelled)
        if member.kind is Kind.FILE and member.name == "index.json":
            raw = member.read_all(MANIFEST_LIMIT_BYTES)
            received.listing = parse_listing(raw, name=name, only=only)
            if rules is not None:
                from olmkit.registry.archives.archivedsignatures import admit_listed

                admit_listed(received.listing, rules)
        elif member.kind is Kind.FILE:
            _receive(store, received, member)
        elif member.kind in (Kind.LINK, Kind.OTHER) and member.name.startswith("blobs/"):
            raise SourceError(f"the archive holds {member.name[:100]!r}, which is no file")
    return received


def _admitted(
    store: Store,
    received: _Received,
    one: _Arrived,
    digest: Digest,
    rules: "RulesFor | None",
) -> "Evidence | None":
    """What the archive tells of who signed a model; None: nothing.

    Raises:
        NotTrusted: that is not what the rules ask.
    """
    listing = _listing(received)
    if rules is None and not listing.signatures:
        return None
    from olmkit.registry.archives.archivedsignatures import admit, evidence_of

    def read(digest: Digest, limit_bytes: int) -> bytes | None:
        return _find_small(store, received, digest, limit_bytes)

    evidence = evidence_of(digest, one.indexes, listing, read)
    if rules is not None:
        admit(one.reference, evidence, rules(one.reference))
    return evidence


def _keep(store: Store, evidences: "Iterable[Evidence | None]") -> None:
    """Keep signatures beside the models that they are of, for a check without a network."""
    for evidence in evidences:
        if evidence is not None and evidence.signatures:
            from olmkit.registry.signatures import keptsignatures

            keptsignatures.keep(store, evidence)


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


def _listing(received: _Received) -> Listing:
    if not received.has_layout or received.listing is None:
        raise SourceError(
            "the archive is no OCI image layout", hint="`olm save` and `skopeo copy` write those"
        )
    return received.listing


def _arrived(
    store: Store, received: _Received, reference: Reference, entry: Descriptor
) -> _Arrived:
    """The model of an entry; of an index, its first model.

    Raises:
        SourceError: the archive lacks a manifest or an index on the way.
    """
    indexes = [_manifest(store, received, digest) for digest in indexes_of(entry)]
    for _ in range(_INDEX_DEPTH):
        raw = _manifest(store, received, entry.digest)
        if entry.media_type not in (mediatypes.OCI_INDEX, mediatypes.DOCKER_MANIFEST_LIST):
            return _Arrived(reference=reference, manifest=Manifest.parse(raw), indexes=indexes)
        inner = [e for e in Index.parse(raw).manifests if not is_attestation(e)]
        if not inner:
            break
        indexes.append(raw)
        entry = inner[0]
    raise SourceError(f"the archive's index {entry.digest.short} leads to no model")


def _manifest(store: Store, received: _Received, digest: Digest) -> bytes:
    raw = _find_small(store, received, digest, MANIFEST_LIMIT_BYTES)
    if raw is None:
        raise SourceError(f"the archive lacks the manifest {digest.short}")
    return raw


def _find_small(
    store: Store, received: _Received, digest: Digest, limit_bytes: int
) -> bytes | None:
    """A blob from memory or, where there was no room for it, from the store; None: neither."""
    raw = received.small.get(digest)
    if raw is not None:
        return raw if len(raw) <= limit_bytes else None
    try:
        return store.blobs.read_small(digest, limit_bytes)
    except RegistryError:
        return None


def _settle(store: Store, received: _Received, manifest: Manifest) -> None:
    """Store the small blobs that a manifest names, and refuse a manifest that lacks one."""
    for blob in manifest.blobs:
        data = received.small.get(blob.digest)
        if data is not None:
            store.blobs.put_bytes(data)
        elif not store.blobs.has(blob.digest, blob.size_bytes):
            raise SourceError(f"the archive lacks blob {blob.digest}, which a model needs")
