"""What there is to tell whose a model is, and whether that is enough.

A signature is over a manifest's digest, or over that of an index that lists it: the digests of what
is loaded follow from either. Everything here is pure, so a check needs no network.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from olmkit.registry.errors import InvalidDigest, InvalidManifest, NotTrusted
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Index
from olmkit.registry.oci.reference import Reference
from olmkit.registry.signatures.publickeys import PublicKey
from olmkit.registry.signatures.repositories import matches, repository_name
from olmkit.registry.signatures.simplesigning import Claim, parse_payload

SIGNATURES_LIMIT: Final = 64
"""Of one manifest; what comes after them does not count."""
CHAIN_LIMIT: Final = 4
ANY_NAME: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature: a text, and what a key made of it."""

    payload: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The signatures of one manifest, and the indexes through which it was reached."""

    digest: Digest
    """The manifest's: what is loaded."""
    signatures: tuple[Signature, ...] = ()
    chain: tuple[bytes, ...] = ()
    """Bytes of indexes, the outermost first; each lists the next, the last lists the manifest."""

    def subjects(self) -> tuple[Digest, ...]:
        """The digests of which a signature vouches for the manifest: its own, and those of the
        indexes as far up as each really lists what is below it."""
        found = [self.digest]
        for raw in reversed(self.chain[-CHAIN_LIMIT:]):
            try:
                listed = [entry.digest for entry in Index.parse(raw).manifests]
            except InvalidManifest:
                break
            if found[-1] not in listed:
                break
            found.append(Digest.of(raw))
        return tuple(found)


class _Misfit(NamedTuple):
    """Why a right signature does not vouch for a model."""

    text: str
    is_name: bool = False
    """Whether the name that it is signed as is all that is wrong."""


def signer_of(
    evidence: Evidence,
    reference: Reference,
    keys: Sequence[PublicKey],
    *,
    signed_as: Sequence[str] = (),
) -> PublicKey:
    """The key by which the model is signed; one signature that fits is enough.

    `signed_as`: parsed patterns of the names that it may be signed as; none: its own name.

    Raises:
        NotTrusted: there is no such signature; the message says what there is instead.
    """
    subjects = evidence.subjects()
    own = repository_name(reference)
    misfits = []
    for one in evidence.signatures[:SIGNATURES_LIMIT]:
        key = next((key for key in keys if key.has_signed(one.payload, one.signature)), None)
        if key is None:
            continue
        claim = parse_payload(one.payload)
        misfit = _misfit(claim, subjects, reference, own, signed_as)
        if misfit is None:
            return key
        misfits.append(misfit)
    raise _refusal(evidence, reference, keys, misfits)


def _misfit(
    claim: Claim | None,
    subjects: Iterable[Digest],
    reference: Reference,
    own: str,
    signed_as: Sequence[str],
) -> _Misfit | None:
    """Why a right signature does not vouch for this model; None: it does."""
    if claim is None:
        return _Misfit("what is signed is no payload of a signature")
    if claim.digest not in subjects:
        return _Misfit(f"what is signed is another manifest, {claim.digest}")
    name, wanted = claim.repository or "nothing", f"not as {own}"
    if signed_as:
        is_right = any(one == ANY_NAME or matches(one, claim.repository) for one in signed_as)
        wanted = "which is none of the names asked for"
    else:
        is_right = claim.repository.lower() == own.lower()
        if is_right and claim.tag is not None and reference.digest is None:
            is_right = claim.tag == reference.tag
            name, wanted = f"{name}:{claim.tag}", f"not as :{reference.tag}"
    return None if is_right else _Misfit(f"it is signed as {name}, {wanted}", is_name=True)


def _refusal(
    evidence: Evidence, reference: Reference, keys: Sequence[PublicKey], misfits: Sequence[_Misfit]
) -> NotTrusted:
    name = f"{reference.short} ({evidence.digest.short})"
    if misfits:
        first = misfits[0]
        hint = "a copy keeps the name it was signed as: allow it with `signed_as`, or --signed-as"
        return NotTrusted(
            f"{name} is not trusted: {first.text}", hint=hint if first.is_name else None
        )
    if not evidence.signatures:
        return NotTrusted(f"{name} is not signed", hint="`olm sign` signs what was pushed")
    asked = ", ".join(f"{key.fingerprint[7:19]}" for key in keys[:4])
    count = len(evidence.signatures)
    many = "1 signature" if count == 1 else f"{count} signatures"
    return NotTrusted(f"{name} has {many}, none of which is by a key asked for ({asked})")


def as_json(evidence: Evidence) -> dict[str, Any]:
    """The evidence as kept in the store and said by the API; bytes in base64."""
    return {
        "digest": str(evidence.digest),
        "signatures": [
            {"payload": _text(one.payload), "signature": _text(one.signature)}
            for one in evidence.signatures
        ],
        "chain": [_text(raw) for raw in evidence.chain],
    }


def from_json(value: Mapping[str, Any]) -> Evidence:
    """The evidence that `as_json` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        return Evidence(
            digest=Digest(value["digest"]),
            signatures=tuple(
                Signature(payload=_bytes(one["payload"]), signature=_bytes(one["signature"]))
                for one in value["signatures"][:SIGNATURES_LIMIT]
            ),
            chain=tuple(map(_bytes, value["chain"][-CHAIN_LIMIT:])),
        )
    except (KeyError, TypeError, AttributeError, binascii.Error, InvalidDigest) as error:
        raise ValueError(f"it is no evidence of signatures: {error}") from error


def parse(raw: bytes) -> Evidence:
    """As `from_json`, of its text. Raises: ValueError."""
    try:
        value = json.loads(raw)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return from_json(value)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
