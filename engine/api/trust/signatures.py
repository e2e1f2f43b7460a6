"""POST /api/signatures and /api/sign: olm's own, about whose models are.

The daemon fetches, keeps and stores signatures. Private keys never come here: clients sign, and
clients hold signatures against their keys.
"""

import asyncio
import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.access.caller import require_access
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.native.pullcreate import without_scheme
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply
from olmkit.engine.errors import InvalidRequest
from olmkit.registry import shortnames
from olmkit.registry.errors import ModelNotFound
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.push import pushes
from olmkit.registry.sources import is_at_registry

if TYPE_CHECKING:  # cryptography and an HTTP client, which come with the first request
    from olmkit.registry.http.remote import RemoteRepository
    from olmkit.registry.signatures.evidence import Evidence


class SignaturesRequest(msgspec.Struct, kw_only=True, frozen=True):
    """POST /api/signatures."""

    model: str = ""
    insecure: bool = False
    fresh: bool = False
    """Ask the registry of a stored model; else only what is kept of it is told."""


class SignRequest(msgspec.Struct, kw_only=True, frozen=True):
    """POST /api/sign."""

    model: str = ""
    """A name that fixes the digest of a manifest at its registry."""
    payload: str = ""
    """What was signed, in base64: simple signing's JSON."""
    signature: str = ""
    """The signature over it, in base64."""
    insecure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """What a name stands for."""

    reference: Reference
    digest: Digest | None
    """Of the stored manifest; None: nothing is stored under the name."""
    pushed: Digest | None = None
    """What the registry has instead, where the model was pushed in another format."""


async def signatures(request: Request) -> Response:
    """The signatures of a model, stored or at its registry, for the client to check."""
    api, body = api_of(request), await decode_body(request, SignaturesRequest)
    if not body.model:
        raise InvalidRequest("model is required", field="model")
    return json_reply(await asyncio.to_thread(_signatures, api, body))


def _signatures(api: Api, body: SignaturesRequest) -> dict[str, Any]:
    from olmkit.registry.signatures.evidence import as_json

    subject = _subject(api, body)
    require_access(subject.reference)
    evidence = _evidence(api, subject, body)
    return {
        "model": subject.reference.short,
        "stored": subject.digest is not None,
        "pushed": None if subject.pushed is None else str(subject.pushed),
        **as_json(evidence),
    }


def _subject(api: Api, body: SignaturesRequest) -> _Subject:
    name = without_scheme(body.model, insecure=body.insecure)
    try:
        model = api.catalog.load(name)
    except ModelNotFound:
        path = api.services.settings.home / "shortnames.toml"
        reference = Reference.parse(shortnames.expand(name, path=path))
        return _Subject(reference=reference, digest=None)
    return _Subject(
        reference=model.reference,
        digest=model.manifest_digest,
        pushed=pushes.find(api.services.store, model.reference, model.manifest_digest),
    )


def _evidence(api: Api, subject: _Subject, body: SignaturesRequest) -> "Evidence":
    """What is kept, or what the registry has; that is kept where the model is stored.

    Raises:
        ModelNotFound: the name is neither stored nor at a registry.
        RemoteError: the registry refuses or cannot be reached.
    """
    from olmkit.registry.http.remote import RemoteRepository
    from olmkit.registry.signatures import keptsignatures
    from olmkit.registry.signatures.evidence import Evidence

    store, reference, digest = api.services.store, subject.reference, subject.digest
    if digest is not None:
        if not body.fresh or not is_at_registry(reference):
            return keptsignatures.find(store, digest)
    elif not is_at_registry(reference):
        raise ModelNotFound(
            f"model {reference.short!r} is not in the store, and its source has no signatures",
            name=reference.short,
        )
    access = api.services.settings.remotes.access()
    with RemoteRepository(reference, access, insecure=body.insecure) as repository:
        try:
            found = _fetched(repository, reference, digest)
        except ModelNotFound:
            if digest is None:
                raise
            return Evidence(digest=digest)  # it was made here and never pushed
    if digest is not None and found.signatures:
        keptsignatures.keep(store, found)
    return found


def _fetched(
    repository: "RemoteRepository", reference: Reference, digest: Digest | None
) -> "Evidence":
    """The signatures at a registry of what a name means there, or of the stored manifest."""
    from olmkit.registry.errors import InvalidManifest
    from olmkit.registry.oci.manifest import Index
    from olmkit.registry.signatures import cosigntags

    target = str(reference.digest) if reference.digest is not None else reference.tag
    named = repository.get_manifest(target)
    if digest is None or digest == named.digest:
        return cosigntags.fetch(repository, named)
    try:
        is_listed = digest in [entry.digest for entry in Index.parse(named.raw).manifests]
    except InvalidManifest:
        is_listed = False
    stored = repository.get_manifest(str(digest))
    return cosigntags.fetch(repository, stored, [named] if is_listed else [])


async def sign(request: Request) -> Response:
    """Store a signature beside the model at its registry, and keep it."""
    api, body = api_of(request), await decode_body(request, SignRequest)
    reference = Reference.parse(without_scheme(body.model, insecure=body.insecure))
    require_access(reference)
    if reference.digest is None:
        raise InvalidRequest("model must fix the digest that is signed", field="model")
    return json_reply(await asyncio.to_thread(_signed, api, body, reference, reference.digest))


def _signed(api: Api, body: SignRequest, reference: Reference, digest: Digest) -> dict[str, Any]:
    from olmkit.registry.http.remote import RemoteRepository
    from olmkit.registry.signatures import cosigntags, keptsignatures
    from olmkit.registry.signatures.evidence import Evidence, Signature
    from olmkit.registry.signatures.signatureimages import tag_of
    from olmkit.registry.signatures.simplesigning import parse_payload

    signature = Signature(
        payload=_bytes(body.payload, "payload"), signature=_bytes(body.signature, "signature")
    )
    claim = parse_payload(signature.payload)
    if claim is None or claim.digest != digest:
        raise InvalidRequest(f"payload does not say that it is of {digest}", field="payload")
    access, store = api.services.settings.remotes.access(), api.services.store
    with RemoteRepository(
        reference, access, actions="pull,push", insecure=body.insecure
    ) as repository:
        try:
            repository.get_manifest(str(digest))
        except ModelNotFound as error:
            hint = "signatures lie beside the model: push it first"
            raise ModelNotFound(str(error), name=error.name, hint=hint) from error
        cosigntags.add(repository, digest, signature)
    if store.with_id(digest.hex):
        keptsignatures.keep(store, Evidence(digest=digest, signatures=(signature,)))
    return {"status": "success", "digest": str(digest), "tag": tag_of(digest)}


def _bytes(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidRequest(f"{field} is not in base64", field=field) from error
