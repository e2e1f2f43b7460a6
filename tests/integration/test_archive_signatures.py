"""Archives of signed models: signatures cross the gap, and rules decide what comes in."""

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from olmkit.registry import formats
from olmkit.registry.archives.archivereader import load_archive
from olmkit.registry.archives.archivewriter import archive_size, to_save, write_archive
from olmkit.registry.errors import NotTrusted, RegistryError, SourceError
from olmkit.registry.formats import Format
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Index, Manifest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.signatures import keptsignatures
from olmkit.registry.signatures.evidence import Evidence, Signature, signer_of
from olmkit.registry.signatures.policy import Action, Rule, signed_by
from olmkit.registry.signatures.signatureimages import tag_of
from olmkit.registry.signatures.signingkeys import SigningKey, new_key
from olmkit.registry.signatures.simplesigning import payload_of
from olmkit.registry.store.store import Store
from support.formats import tar
from support.stores import GGUF, put_model

KEY, OTHER = new_key(), new_key()
NAME = "ghcr.io/team/pack:1"
LARGE = GGUF * 4000
"""Too large to be kept in memory as a manifest may be."""


def sign(
    store: Store,
    name: str,
    key: SigningKey = KEY,
    *,
    subject: Digest | None = None,
    indexes: Sequence[bytes] = (),
) -> None:
    """Keep a signature of a stored model, or of an index that led to it."""
    reference = Reference.parse(name)
    digest = store.load(reference).manifest_digest
    payload = payload_of(reference, subject or digest)
    signature = Signature(payload=payload, signature=key.sign(payload))
    keptsignatures.keep(
        store, Evidence(digest=digest, signatures=(signature,), chain=tuple(indexes))
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A model in ModelPack's format, and one in Ollama's, which archives hold wrapped."""
    store = Store(tmp_path / "models")
    plain = put_model(store, "plain", LARGE)
    pack = formats.write(store, formats.read(store, plain), Format.MODELPACK)
    store.put(Reference.parse(NAME), pack)
    return store


def archive(store: Store, *names: str) -> bytes:
    saved = to_save(store, [store.load(Reference.parse(name)) for name in names])
    data = b"".join(write_archive(store, saved))
    assert len(data) == archive_size(saved)
    return data


def files_in(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        return {info.name: file.read() for info in opened if (file := opened.extractfile(info))}


def kept(store: Store, name: str) -> Evidence:
    return keptsignatures.find(store, store.load(Reference.parse(name)).manifest_digest)


def index_above(raw: bytes, media_type: str) -> bytes:
    listed = Descriptor(media_type=media_type, digest=Digest.of(raw), size_bytes=len(raw))
    return Index.build([listed]).raw


def test_signatures_cross_the_gap_with_their_models(store: Store, tmp_path: Path) -> None:
    unsigned = archive(store, NAME)
    stored = store.load(Reference.parse(NAME)).manifest
    inner = index_above(stored.raw, stored.media_type)
    outer = index_above(inner, Index.parse(inner).media_type)
    sign(store, NAME, OTHER)
    sign(store, NAME, subject=Digest.of(outer), indexes=[outer, inner])
    sign(store, "plain")
    data = archive(store, NAME, "plain")
    assert data == archive(store, NAME, "plain")
    assert unsigned != archive(store, NAME)

    other = Store(tmp_path / "other")
    rules = (signed_by([KEY.public]),)
    loaded = load_archive(other, io.BytesIO(data), rules=lambda _: rules)
    assert [model.reference.short for model in loaded] == [NAME, "plain:latest"]
    for name in (NAME, "plain"):
        assert set(kept(other, name).signatures) == set(kept(store, name).signatures)
        assert signer_of(kept(other, name), Reference.parse(name), [KEY.public]) == KEY.public
    assert kept(other, NAME).chain == (outer, inner)
    again = to_save(other, [other.load(Reference.parse(name)) for name in (NAME, "plain")])
    assert archive_size(again) == len(data)
    assert not kept(load_into(tmp_path / "third", unsigned), NAME).signatures


def load_into(folder: Path, data: bytes) -> Store:
    store = Store(folder)
    load_archive(store, io.BytesIO(data))
    return store


def test_other_tools_find_the_signatures_where_cosign_has_them(
    store: Store, tmp_path: Path
) -> None:
    sign(store, NAME)
    path = tmp_path / "saved.tar"
    path.write_bytes(archive(store, NAME, "plain"))
    tag = tag_of(store.load(Reference.parse(NAME)).manifest_digest)
    program = shutil.which("skopeo")
    assert program, "these tests want skopeo: apt-get install skopeo"
    for name in ("ghcr.io/team/pack:1", f"ghcr.io/team/pack:{tag}"):
        words = ["copy", f"oci-archive:{path}:{name}", f"oci:{tmp_path}/layout:{name}"]
        subprocess.run([program, "--insecure-policy", *words], check=True)
    entries = json.loads(files_in(path.read_bytes())["index.json"])["manifests"]
    notes = [entry["annotations"] for entry in entries]
    assert [one.get("kind") for one in notes] == [
        "dev.cosignproject.cosign/image",
        None,
        "dev.cosignproject.cosign/sigs",
    ]


def test_an_archive_of_cosigns_form_is_loaded_with_its_signatures(
    store: Store, tmp_path: Path
) -> None:
    """There is no name in it, and `kind` alone tells what is what."""
    sign(store, NAME)
    files = files_in(archive(store, NAME))
    index = json.loads(files["index.json"])
    for entry in index["manifests"]:
        del entry["annotations"]["org.opencontainers.image.ref.name"]
    files["index.json"] = json.dumps(index).encode()
    other = Store(tmp_path / "other")
    with pytest.raises(SourceError, match="no name"):
        load_archive(other, io.BytesIO(tar(files)))
    rules = (signed_by([KEY.public]),)
    name = Reference.parse(NAME)
    load_archive(other, io.BytesIO(tar(files)), name=name, rules=lambda _: rules)
    assert kept(other, NAME) == kept(store, NAME)


@pytest.mark.parametrize("case", ["unsigned", "another key", "forbidden", "one of two", "renamed"])
def test_what_the_rules_are_against_is_not_loaded(store: Store, tmp_path: Path, case: str) -> None:
    signed = signed_by([KEY.public])
    rules: dict[str, tuple[Rule, ...]] = {NAME: (signed,), "plain:latest": ()}
    names, name, told = [NAME], None, "is not signed"
    if case == "another key":
        sign(store, NAME, OTHER)
        told = "none of which is by a key asked for"
    elif case == "forbidden":
        sign(store, NAME)
        rules[NAME] = (Rule(action=Action.DENY, origin="the policy"),)
        told = "ghcr.io/team/pack:1 is forbidden by the policy"
    elif case == "one of two":
        sign(store, "plain")
        names = ["plain", NAME]
    elif case == "renamed":
        sign(store, NAME)
        rules["mine:latest"] = (signed,)
        name, told = Reference.parse("mine"), "it is signed as ghcr.io/team/pack"
    other = Store(tmp_path / "other")
    with pytest.raises(NotTrusted, match=told):
        load_archive(
            other,
            io.BytesIO(archive(store, *names)),
            name=name,
            rules=lambda reference: rules[reference.short],
        )
    assert other.list() == []
    assert not (other.root / "signatures").exists()
    if case in ("unsigned", "forbidden"):
        assert not other.blobs.has(Digest.of(LARGE)), "its blobs were read before it was refused"


def _without_payload(files: dict[str, bytes], image: Manifest) -> None:
    del files[f"blobs/sha256/{image.layers[0].digest.hex}"]


def _without_image(files: dict[str, bytes], image: Manifest) -> None:
    del files[f"blobs/sha256/{image.digest.hex}"]


def _with_another_index(files: dict[str, bytes], image: Manifest) -> None:
    """The signed index is there, and lists another model."""
    raw = index_above(b"{}", "text/plain")
    files[f"blobs/sha256/{Digest.of(raw).hex}"] = raw
    _note(files, str(Digest.of(raw)))


def _with_too_many_indexes(files: dict[str, bytes], image: Manifest) -> None:
    _note(files, ",".join([str(image.digest)] * 5))


def _with_junk_for_an_index(files: dict[str, bytes], image: Manifest) -> None:
    _note(files, "../..")


def _note(files: dict[str, bytes], indexes: str) -> None:
    value: dict[str, Any] = json.loads(files["index.json"])
    value["manifests"][0]["annotations"]["dev.olmkit.indexes"] = indexes
    files["index.json"] = json.dumps(value).encode()


@pytest.mark.parametrize(
    "change",
    [
        _without_payload,
        _without_image,
        _with_another_index,
        _with_too_many_indexes,
        _with_junk_for_an_index,
    ],
)
def test_signatures_that_do_not_hold_together_let_nothing_in(
    store: Store, tmp_path: Path, change: Any
) -> None:
    stored = store.load(Reference.parse(NAME)).manifest
    index = index_above(stored.raw, stored.media_type)
    sign(store, NAME, subject=Digest.of(index), indexes=[index])
    files = files_in(archive(store, NAME))
    entry = json.loads(files["index.json"])["manifests"][1]
    image = Manifest.parse(files[f"blobs/sha256/{entry['digest'].removeprefix('sha256:')}"])
    rules = (signed_by([KEY.public]),)
    good = Store(tmp_path / "good")
    load_archive(good, io.BytesIO(tar(files)), rules=lambda _: rules)
    change(files, image)
    other = Store(tmp_path / "other")
    with pytest.raises(RegistryError):
        load_archive(other, io.BytesIO(tar(files)), rules=lambda _: rules)
    assert other.list() == []
