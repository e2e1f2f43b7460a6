"""Images and artifacts that hold no model are refused, whatever they come by."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from olmkit.registry.archives.archivereader import load_archive
from olmkit.registry.archives.archivewriter import Saved, write_archive
from olmkit.registry.errors import SourceError
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store
from support.daemon import running_daemon
from support.olm import olm, out
from support.randommodel import write_llama
from support.registry import Registry, serving

OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"


def tar(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"hello"))
    return buffer.getvalue()


KINDS = {
    "image": (OCI_CONFIG, OCI_LAYER, tar("bin/hello")),
    "helm": (
        "application/vnd.cncf.helm.config.v1+json",
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        gzip.compress(tar("chart/Chart.yaml")),
    ),
    "empty": ("application/vnd.docker.container.image.v1+json", "", b""),
}


def descriptor(registry: Registry, media_type: str, data: bytes) -> Descriptor:
    digest = Digest(registry.put_blob(data))
    return Descriptor(media_type=media_type, digest=digest, size_bytes=len(data))


@pytest.mark.parametrize("kind", KINDS)
def test_what_holds_no_model_is_not_pulled(kind: str, tmp_path: Path) -> None:
    config_type, layer_type, data = KINDS[kind]
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {}}).encode()
    with serving() as registry, running_daemon(tmp_path / "home") as daemon:
        layers = [descriptor(registry, layer_type, data)] if layer_type else []
        made = Manifest.build(descriptor(registry, config_type, config), layers)
        registry.put_manifest("library/m", "1", made.raw, made.media_type)
        name = f"{registry.host}/library/m:1"
        done = olm(daemon.environ, "pull", name)
        assert done.returncode == 1
        assert f"{name} holds no model" in done.stderr.decode()
        assert olm(daemon.environ, "ls", "-q").stdout == b""


def test_what_holds_no_model_is_not_loaded_from_an_archive(tmp_path: Path) -> None:
    store, config, data = Store(tmp_path / "a"), b"{}", tar("bin/hello")
    made = Manifest.build(
        Descriptor(media_type=OCI_CONFIG, digest=Digest.of(config), size_bytes=2),
        [Descriptor(media_type=OCI_LAYER, digest=Digest.of(data), size_bytes=len(data))],
        media_type="application/vnd.oci.image.manifest.v1+json",
    )
    small = {Digest.of(config): config, Digest.of(data): data}
    saved = Saved(reference=Reference.parse("x"), manifest=made, small=small)
    archive = io.BytesIO(b"".join(write_archive(store, [saved])))
    with pytest.raises(SourceError, match="x:latest holds no model"):
        load_archive(Store(tmp_path / "b"), archive)
    assert Store(tmp_path / "b").list() == []


def test_a_stored_name_that_ends_as_files_do_can_be_run(tmp_path: Path) -> None:
    with running_daemon(tmp_path / "home") as daemon:
        (tmp_path / "Modelfile").write_text(f"FROM {write_llama(tmp_path / 'w.gguf')}\n")
        out(olm(daemon.environ, "create", "my.gguf", cwd=tmp_path))
        assert olm(daemon.environ, "run", "my.gguf", "hi").returncode == 0
        missing = olm(daemon.environ, "run", "other.gguf", "hi")
        assert missing.returncode == 3
        assert missing.stderr == b"Error: no such file: other.gguf\n"
