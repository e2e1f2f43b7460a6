"""A GGUF file at an address: `https://HOST/PATH/FILE.gguf[#sha256=…]`.

With a digest in the address the bytes are checked against it, and a blob that is there is not
downloaded. Without one, whatever comes by TLS is taken. The model's name is made of the address.
"""

import hashlib
import threading
from dataclasses import replace
from functools import partial
from typing import Final
from urllib.parse import unquote, urlsplit

from olmkit.registry.download.blobdownload import RemoteBlob
from olmkit.registry.download.download import fetch
from olmkit.registry.errors import Cancelled, SourceError
from olmkit.registry.events import BlobProgress, EventSink, Status
from olmkit.registry.http import web
from olmkit.registry.http.patience import patiently
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.http.webfile import WebHost
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.modelconfig import ModelSource, SourceFile
from olmkit.registry.oci.reference import Reference, address_digest
from olmkit.registry.sources import Describe, PullOptions
from olmkit.registry.store.store import Store, StoredModel

STREAM_BLOCK_BYTES: Final = 1 << 20


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
        SourceError: what is there is no GGUF file.
        Cancelled: `cancelled` was set.
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
        size_bytes = patiently(lambda: host.size_bytes(path, name), cancelled)
        label = f"pulling {parts.path.rpartition('/')[2]}"
        if size_bytes is None:
            digest = _streamed(host, path, store, expected, label, on_event, cancelled)
            size_bytes = store.blobs.path(digest).stat().st_size
        else:
            key = hashlib.sha256(f"{origin}{path} {size_bytes}".encode()).hexdigest()
            wanted = RemoteBlob(
                label=label,
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
                limits=access.limits,
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


def _streamed(
    host: WebHost,
    path: str,
    store: Store,
    expected: Digest | None,
    label: str,
    on_event: EventSink,
    cancelled: threading.Event,
) -> Digest:
    """The file of a server that does not tell its length: one stream, from its first byte on.

    Raises:
        Cancelled: `cancelled` was set.
        RemoteError: it broke off; nothing is kept.
    """
    if expected is not None and store.blobs.has(expected):
        return expected
    with store.blobs.writer(expected=expected) as writer, host.open(path) as response:
        with web.remote_errors(host.host):
            for block in response.iter_raw(STREAM_BLOCK_BYTES):
                if cancelled.is_set():
                    raise Cancelled("the transfer was cancelled")
                writer.write(block)
                done = writer.written_bytes
                on_event(BlobProgress(label=label, completed_bytes=done, total_bytes=None))
        return writer.commit()


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
