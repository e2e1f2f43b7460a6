"""A GGUF file at an address: `https://HOST/PATH/FILE.gguf[#sha256=…]`.

With a digest in the address the bytes are checked against it, and a blob that is there is not
downloaded. Without one, whatever comes by TLS is taken. The model's name is made of the address.
"""

import hashlib
import threading
from dataclasses import replace
from functools import partial
from urllib.parse import unquote, urlsplit

from olmkit.registry.download.blobdownload import RemoteBlob
from olmkit.registry.download.download import fetch
from olmkit.registry.errors import SourceError
from olmkit.registry.events import EventSink, Status
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.http.webfile import WebHost
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.modelconfig import ModelSource, SourceFile
from olmkit.registry.oci.reference import Reference, address_digest
from olmkit.registry.sources import Describe, PullOptions
from olmkit.registry.store.store import Store, StoredModel


def pull(
    address: str,
    store: Store,
    *,
    on_event: EventSink,
    cancelled: threading.Event,
    describe: Describe,
    options: PullOptions,
) -> StoredModel:
    """Bring the file at an address into the store, named as `Reference.parse` says; return
    the model.

    Raises:
        InvalidReference: the address is none of a GGUF file.
        ModelNotFound: nothing is there.
        SourceError: what is there is no GGUF file, or the server does not tell its length.
        TransferCancelled: `cancelled` was set.
        RemoteError: refused, unreachable, or other bytes than the digest says.
        StoreError, DiskFull: the store cannot take it.
    """
    reference = Reference.parse(address)
    expected = address_digest(address)
    parts = urlsplit(address)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    name = f"{parts.netloc}{parts.path}"
    access = options.access or RemoteAccess()
    origin = f"{parts.scheme}://{parts.netloc}/"
    on_event(Status(text=f"pulling {name}"))
    with WebHost(origin, access, insecure=options.insecure) as host:
        size_bytes = host.size_bytes(path, name)
        if size_bytes is None:
            raise SourceError(f"{host.host} does not tell the length of {name}")
        key = hashlib.sha256(f"{origin}{path} {size_bytes}".encode()).hexdigest()
        wanted = RemoteBlob(
            label=f"pulling {parts.path.rpartition('/')[2]}",
            name=expected.file_name if expected else f"address-{key}",
            size_bytes=size_bytes,
            digest=expected,
            open=partial(host.open, path),
            host=host.host,
        )
        (digest,) = fetch(
            [wanted],
            store.blobs,
            on_event=on_event,
            cancelled=cancelled,
            streams=access.streams,
        )
    with open(store.blobs.check(digest), "rb") as file:
        if file.read(4) != b"GGUF":
            raise SourceError(f"{name} is no GGUF file")
    # Without its query, which may be a signature.
    plain = f"{parts.scheme}://{name}"
    source = ModelSource(reference=plain, files=(SourceFile(name=name, digest=digest),))
    config = replace(describe(store.blobs.path(digest)), olm_source=source).to_json()
    on_event(Status(text="writing manifest"))
    store.put(reference, _manifest(store, config, digest, size_bytes, parts.path))
    on_event(Status(text=f"stored as {reference.short}"))
    return store.load(reference)


def _manifest(store: Store, config: bytes, digest: Digest, size_bytes: int, path: str) -> Manifest:
    layer = Descriptor(
        media_type=mediatypes.OLLAMA_MODEL,
        digest=digest,
        size_bytes=size_bytes,
        annotations={mediatypes.ANNOTATION_TITLE: unquote(path).rpartition("/")[2]},
    )
    descriptor = Descriptor(
        media_type=mediatypes.DOCKER_CONFIG,
        digest=store.blobs.put_bytes(config),
        size_bytes=len(config),
    )
    return Manifest.build(descriptor, [layer])
