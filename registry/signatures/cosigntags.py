"""Signatures at a registry, as cosign stores them: an image under the tag `sha256-….sig`.

Source: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
"""

from collections.abc import Sequence
from http import HTTPStatus

from olmkit.registry.errors import InvalidManifest, ModelNotFound, NotTrusted, RemoteRejected
from olmkit.registry.http import web
from olmkit.registry.http.remote import RemoteManifest, RemoteRepository
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.signatures.evidence import SIGNATURES_LIMIT, Evidence, Signature
from olmkit.registry.signatures.signatureimages import (
    image_of,
    layer_of,
    signatures_in,
    tag_of,
)
from olmkit.registry.signatures.simplesigning import PAYLOAD_LIMIT_BYTES


def fetch(
    repository: RemoteRepository, manifest: RemoteManifest, indexes: Sequence[RemoteManifest] = ()
) -> Evidence:
    """What the registry has of signatures of a manifest, and of the indexes that led to it.

    Raises:
        NotTrusted: what lies there cannot be read.
        RemoteError: refused or unreachable.
    """
    found: list[Signature] = []
    for digest in (manifest.digest, *(index.digest for index in reversed(indexes))):
        found += signatures_of(repository, digest, limit=SIGNATURES_LIMIT - len(found))
    return Evidence(
        digest=manifest.digest,
        signatures=tuple(found),
        chain=tuple(index.raw for index in indexes),
    )


def signatures_of(
    repository: RemoteRepository, digest: Digest, *, limit: int = SIGNATURES_LIMIT
) -> list[Signature]:
    """The signatures over one digest; layers that hold none are passed over.

    Raises:
        NotTrusted: what lies there cannot be read.
        RemoteError: refused or unreachable.
    """
    layers = _layers(repository, digest)
    return signatures_in(layers, lambda layer: _payload(repository, layer), limit=limit)


def add(repository: RemoteRepository, digest: Digest, signature: Signature) -> None:
    """Store one more signature over a manifest at its registry, beside those that are there.

    Raises:
        NotTrusted: what lies there cannot be read, so nothing can be added to it, or is as much as
            anybody reads.
        RemoteError: refused or unreachable.
    """
    layers = _layers(repository, digest)
    if len(layers) >= SIGNATURES_LIMIT:
        name = repository.reference.short
        raise NotTrusted(f"{name} has {len(layers)} signatures, and none after them would count")
    _upload(repository, signature.payload)
    config, manifest = image_of([*layers, layer_of(signature)])
    _upload(repository, config)
    repository.put_manifest(tag_of(digest), manifest.raw, manifest.media_type)


def _layers(repository: RemoteRepository, digest: Digest) -> tuple[Descriptor, ...]:
    try:
        return Manifest.parse(repository.get_manifest(tag_of(digest)).raw).layers
    except ModelNotFound:
        return ()
    except InvalidManifest as error:
        name = repository.reference.short
        raise NotTrusted(f"the signatures of {name} cannot be read: {error}") from error


def _payload(repository: RemoteRepository, layer: Descriptor) -> bytes | None:
    if layer.size_bytes > PAYLOAD_LIMIT_BYTES:
        return None
    try:
        with repository.open_blob(layer.digest) as response:
            raw = web.read_limited(response, PAYLOAD_LIMIT_BYTES)
    except InvalidManifest:  # longer than it said
        return None
    except RemoteRejected as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise
    return raw if Digest.of(raw) == layer.digest else None


def _upload(repository: RemoteRepository, data: bytes) -> None:
    digest = Digest.of(data)
    if not repository.has_blob(digest):
        session = repository.start_upload()
        assert session is not None
        repository.finish_upload(session, digest, data, len(data))
