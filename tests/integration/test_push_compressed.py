"""Pushes with compressed layers: only what shrinks, read back byte for byte."""

import io
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from olmkit.registry import formats
from olmkit.registry.errors import SourceError
from olmkit.registry.events import BlobProgress, Event
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Manifest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.oci.reference import Reference
from olmkit.registry.push import transfer
from olmkit.registry.push.transfer import PushOptions
from olmkit.registry.sources import pull
from olmkit.registry.store.store import Store
from support.debian_registry import DebianRegistry, debian_registry
from support.stores import files_of, manifest

SHRINKING = b"GGUF" + os.urandom(3 << 20).translate(bytes(byte % 12 for byte in range(256)))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DebianRegistry]:
    with debian_registry(tmp_path / "registry") as registry:
        yield registry


def push(store: Store, name: str, weights: bytes, **how: str | bool) -> list[Event]:
    events: list[Event] = []
    reference = Reference.parse(name)
    store.put(reference, manifest(store, weights, template=b"{{ .Prompt }}"))
    transfer.push_model(
        store.load(reference),
        store,
        RemoteAccess(),
        on_event=events.append,
        cancelled=threading.Event(),
        options=PushOptions(compress=True, **how),  # type: ignore[arg-type]
    )
    return events


def pulled(store: Store, name: str) -> Manifest:
    return pull(
        Reference.parse(name),
        store,
        on_event=lambda event: None,
        cancelled=threading.Event(),
        describe=lambda path: ModelConfig(),
    ).manifest


def test_weights_that_shrink_go_compressed_and_come_back_the_same(
    registry: DebianRegistry, tmp_path: Path
) -> None:
    store, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    name = f"{registry.host}/team/m:1"
    events = push(store, name, SHRINKING)
    (stored,) = store.list()
    names = {blob.digest.file_name for blob in stored.manifest.blobs}
    assert {path.rpartition("/")[2] for path in files_of(store) if "blobs/" in path} == names

    made = pulled(other, name)
    layer = made.layers[0]
    assert layer.media_type.endswith(".tar+zstd")
    assert layer.size_bytes < 0.7 * len(SHRINKING)
    archive = zstandard.ZstdDecompressor().stream_reader(registry.blob(layer.digest)).read()
    config = json.loads(registry.blob(made.config.digest))
    assert config["modelfs"]["diffIds"][0] == Digest.of(archive)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        (member,) = opened.getmembers()
        file = opened.extractfile(member)
        assert file is not None and file.read() == SHRINKING
    parts = formats.read(other, made)
    assert [part.digest for part in parts.weights] == [Digest.of(SHRINKING)]
    assert formats.write(other, parts, formats.Format.OLLAMA).raw == stored.manifest.raw
    shown = [e for e in events if isinstance(e, BlobProgress) and "compressing" in e.label]
    assert shown[-1].completed_bytes == shown[-1].total_bytes == len(SHRINKING)


def dense() -> bytes:
    return b"GGUF" + os.urandom(3 << 20)


def deceiving() -> bytes:
    """Where samples are taken it shrinks."""
    return b"GGUF" + 8 * (bytes(1 << 20) + os.urandom(15 << 20))


@pytest.mark.parametrize("made", [dense, deceiving])
def test_weights_that_do_not_shrink_go_as_they_are(
    registry: DebianRegistry, tmp_path: Path, made: Callable[[], bytes]
) -> None:
    store, name, weights = Store(tmp_path / "one"), f"{registry.host}/team/m:1", made()
    push(store, name, weights)
    layer = pulled(Store(tmp_path / "other"), name).layers[0]
    assert layer.digest == Digest.of(weights)
    assert layer.media_type.endswith(".raw")
    kept = sum(path.stat().st_size for path in (store.root / "blobs").iterdir())
    assert kept < len(weights) + 10_000


def test_a_second_push_sends_nothing(registry: DebianRegistry, tmp_path: Path) -> None:
    store, name = Store(tmp_path / "one"), f"{registry.host}/team/m:1"
    push(store, name, SHRINKING)
    before = registry.blobs
    push(store, name, SHRINKING)
    assert registry.blobs == before


def test_what_no_reader_would_take_is_not_compressed(
    registry: DebianRegistry, tmp_path: Path
) -> None:
    store, name = Store(tmp_path / "one"), f"{registry.host}/team/m:1"
    push(store, name, b"GGUF" + bytes(80 << 20))
    made = pulled(Store(tmp_path / "other"), name)
    assert made.layers[0].media_type.endswith(".raw")


@pytest.mark.parametrize("format", ["ollama", "docker"])
def test_other_formats_have_no_compressed_layers(format: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no compressed layers"):
        push(Store(tmp_path / "one"), "127.0.0.1:1/team/m:1", SHRINKING, format=format)
