"""Signatures in archives: written from what the store keeps, and read to be held against rules.

They lie there as at a registry, and as `cosign save` writes them: images beside the models. Nothing
is trusted because an archive has it: what counts is whether a key that is asked for has signed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from olmkit.registry.archives.listing import ANNOTATION_KIND, KIND_SIGNATURES, Listing
from olmkit.registry.errors import InvalidManifest, NotTrusted, SourceError
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import MANIFEST_LIMIT_BYTES, Descriptor, Manifest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.signatures import keptsignatures
from olmkit.registry.signatures.evidence import SIGNATURES_LIMIT, Evidence, Signature
from olmkit.registry.signatures.policy import Action, Rule
from olmkit.registry.signatures.repositories import repository_name
from olmkit.registry.signatures.signatureimages import (
    image_of,
    layer_of,
    signatures_in,
    tag_of,
)
from olmkit.registry.signatures.simplesigning import PAYLOAD_LIMIT_BYTES, parse_payload
from olmkit.registry.store.store import Store, StoredModel

ReadBlob = Callable[[Digest, int], bytes | None]
"""Function that gives a small blob of an archive, verified, and at most so many bytes of it; None:
the archive does not have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSignatures:
    """What an archive gets of the signatures of one model."""

    indexes: tuple[bytes, ...] = ()
    """The indexes that led to the model, the outermost first."""
    entries: tuple[Descriptor, ...] = ()
    """The images of signatures, as the archive's index lists them."""
    blobs: Mapping[Digest, bytes]
    """All that these consist of."""


def kept_signatures(store: Store, model: StoredModel) -> KeptSignatures | None:
    """What the store keeps of the signatures of a model, for an archive; None: nothing."""
    kept = keptsignatures.find(store, model.manifest_digest)
    if not kept.signatures:
        return None
    subjects = kept.subjects()
    groups: dict[Digest, list[Signature]] = {}
    for signature in kept.signatures:
        claim = parse_payload(signature.payload)
        subject = claim.digest if claim and claim.digest in subjects else kept.digest
        groups.setdefault(subject, []).append(signature)
    indexes = kept.chain[len(kept.chain) - len(subjects) + 1 :]
    blobs = {Digest.of(raw): raw for raw in indexes}
    entries = []
    for subject, signatures in groups.items():
        config, image = image_of([layer_of(one) for one in signatures])
        parts = (image.raw, config, *(one.payload for one in signatures))
        blobs |= {Digest.of(part): part for part in parts}
        name = f"{repository_name(model.reference)}:{tag_of(subject)}"
        entries.append(
            Descriptor(
                media_type=image.media_type,
                digest=image.digest,
                size_bytes=len(image.raw),
                annotations={
                    mediatypes.ANNOTATION_REF_NAME: name,
                    ANNOTATION_KIND: KIND_SIGNATURES,
                },
            )
        )
    return KeptSignatures(indexes=indexes, entries=tuple(entries), blobs=blobs)


def evidence_of(
    digest: Digest, indexes: Sequence[bytes], listing: Listing, read: ReadBlob
) -> Evidence:
    """What an archive tells of who signed a model.

    `digest`: of the manifest as it is stored; `indexes`: those that led to it, outermost first.

    Raises:
        SourceError: an image of signatures is absent or cannot be read.
    """
    found: list[Signature] = []
    evidence = Evidence(digest=digest, chain=tuple(indexes))
    for tag in (*map(tag_of, evidence.subjects()), ""):
        entry = listing.signatures.get(tag)
        if entry is not None:
            found += _signatures(entry, read, limit=SIGNATURES_LIMIT - len(found))
    return Evidence(digest=digest, signatures=tuple(found), chain=evidence.chain)


def _signatures(entry: Descriptor, read: ReadBlob, *, limit: int) -> list[Signature]:
    raw = read(entry.digest, MANIFEST_LIMIT_BYTES)
    if raw is None:
        raise SourceError(f"the archive lacks the signatures {entry.digest.short} that it lists")
    try:
        layers = Manifest.parse(raw).layers
    except InvalidManifest as error:
        raise SourceError(
            f"the archive's signatures {entry.digest.short} cannot be read: {error}"
        ) from error
    return signatures_in(layers, lambda one: read(one.digest, PAYLOAD_LIMIT_BYTES), limit=limit)


def admit(reference: Reference, evidence: Evidence, rules: Sequence[Rule]) -> None:
    """Nothing, if the archive's own signatures are as the rules ask.

    Raises:
        NotTrusted: they are not, or the model is forbidden.
    """
    for rule in rules:
        try:
            rule.require(reference, evidence)
        except NotTrusted as error:
            if rule.action is not Action.SIGNED or evidence.signatures:
                raise
            hint = "`olm verify --key FILE MODEL` before `olm save` brings its signatures along"
            raise NotTrusted(str(error), hint=hint) from error


def admit_listed(listing: Listing, rules: Callable[[Reference], Sequence[Rule]]) -> None:
    """Refuse what the list of an archive alone tells: what is forbidden, or has no signatures.

    Raises:
        NotTrusted: there is such a model.
    """
    for reference, entry in listing.models:
        for rule in rules(reference):
            if rule.action is Action.DENY or not listing.signatures:
                admit(reference, Evidence(digest=entry.digest), (rule,))
