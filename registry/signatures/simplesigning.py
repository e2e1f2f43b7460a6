"""What is signed: a small JSON text that says which manifest is meant, and under which name.

Source: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md#simple-signing
"""

import json
from dataclasses import dataclass
from typing import Final

from olmkit.registry.errors import InvalidDigest, InvalidReference
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.signatures.repositories import repository_name

TYPE: Final = "cosign container image signature"
_TYPES: Final = (TYPE, "atomic container signature")
"""The second is what Podman and skopeo write."""
PAYLOAD_LIMIT_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a payload says."""

    digest: Digest
    """The manifest or index that is signed."""
    repository: str
    """The name that it is signed as, without a tag: `ghcr.io/team/model`; empty for none."""
    tag: str | None
    """The tag, where the name has one."""


def payload_of(reference: Reference, digest: Digest) -> bytes:
    """The text to sign for a manifest of a repository; byte for byte what cosign would sign."""
    critical = {
        "identity": {"docker-reference": repository_name(reference, for_docker=True)},
        "image": {"docker-manifest-digest": str(digest)},
        "type": TYPE,
    }
    value = {"critical": critical, "optional": None}
    return json.dumps(value, separators=(",", ":")).encode()


def parse_payload(raw: bytes) -> Claim | None:
    """What a payload claims; None when it is no payload of a signature.

    A payload is read only after its signature was found right.
    """
    if len(raw) > PAYLOAD_LIMIT_BYTES:
        return None
    try:
        critical = json.loads(raw)["critical"]
        name = critical["identity"]["docker-reference"]
        digest = critical["image"]["docker-manifest-digest"]
        if critical["type"] not in _TYPES or not isinstance(name, str):
            return None
        signed = Digest(digest)
    except (ValueError, TypeError, KeyError, RecursionError, InvalidDigest):
        return None
    try:
        reference = Reference.parse(name)
    except InvalidReference:
        return Claim(digest=signed, repository="", tag=None)
    has_tag = ":" in name.partition("@")[0].rpartition("/")[2]
    return Claim(
        digest=signed,
        repository=repository_name(reference),
        tag=reference.tag if has_tag else None,
    )
