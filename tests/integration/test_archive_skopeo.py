"""Archives: skopeo reads what olm writes, olm what skopeo writes; what is broken is refused."""

import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from olmkit.registry import formats
from olmkit.registry.archives.archivereader import load_archive
from olmkit.registry.archives.archivewriter import archive_size, to_save, write_archive
from olmkit.registry.errors import CorruptBlob, RegistryError, SourceError
from olmkit.registry.formats import Format
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store
from support.formats import tar
from support.stores import GGUF, put_model

NAMES = ("small", "ghcr.io/team/big:v2", "ghcr.io/team/pack")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two models that share nothing but their config, and one in ModelPack's format."""
    store = Store(tmp_path / "models")
    small = put_model(store, NAMES[0])
    put_model(store, NAMES[1], GGUF * 4000)
    pack = formats.write(store, formats.read(store, small), Format.MODELPACK)
    store.put(Reference.parse(NAMES[2]), pack)
    return store


def archive(store: Store, *names: str) -> bytes:
    saved = to_save(store, [store.load(Reference.parse(name)) for name in names or NAMES])
    data = b"".join(write_archive(store, saved))
    assert len(data) == archive_size(saved)
    return data


def raw_manifests(store: Store) -> dict[str, bytes]:
    return {model.reference.short: model.manifest.raw for model in store.list()}


def skopeo(*words: str) -> str:
    program = shutil.which("skopeo")
    assert program, "these tests want skopeo: apt-get install skopeo"
    done = subprocess.run(
        [program, "--insecure-policy", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
def test_what_is_saved_is_loaded_byte_for_byte(
    store: Store, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    other = Store(tmp_path / "other")
    loaded = load_archive(other, io.BytesIO(compress(archive(store))))
    assert [model.reference.short for model in loaded] == [
        Reference.parse(name).short for name in NAMES
    ]
    assert raw_manifests(other) == raw_manifests(store)
    for model in other.list():
        for blob in model.manifest.blobs:
            other.blobs.verify(blob.digest)


def test_equal_models_give_equal_archives(store: Store) -> None:
    assert archive(store) == archive(store)


def test_skopeo_reads_what_olm_saved_and_olm_loads_what_skopeo_wrote(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "saved.tar"
    path.write_bytes(archive(store))
    for name in NAMES:
        full = Reference.parse(name).full
        manifest = json.loads(skopeo("inspect", "--raw", f"oci-archive:{path}:{full}"))
        assert manifest["mediaType"] == mediatypes.OCI_MANIFEST
        skopeo("copy", f"oci-archive:{path}:{full}", f"oci:{tmp_path}/layout:{full}")
        copied = tmp_path / "copied.tar"
        copied.unlink(missing_ok=True)
        skopeo("copy", f"oci:{tmp_path}/layout:{full}", f"oci-archive:{copied}:{full}")
        other = Store(tmp_path / "other" / name.replace("/", "_"))
        with open(copied, "rb") as file:
            (loaded,) = load_archive(other, file)
        assert loaded.reference.full == full
        assert loaded.manifest.raw == store.load(loaded.reference).manifest.raw


def test_a_model_without_a_name_is_loaded_under_a_given_one(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "saved.tar"
    path.write_bytes(archive(store, "small"))
    skopeo(
        "copy",
        f"oci-archive:{path}:{Reference.parse('small').full}",
        f"oci-archive:{tmp_path}/bare.tar",
    )
    other = Store(tmp_path / "other")
    with open(tmp_path / "bare.tar", "rb") as file, pytest.raises(SourceError, match="no name"):
        load_archive(other, file)
    with open(tmp_path / "bare.tar", "rb") as file:
        (loaded,) = load_archive(other, file, name=Reference.parse("given"))
    assert loaded.manifest.raw == store.load(Reference.parse("small")).manifest.raw


def repacked(data: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        files = {info.name: file.read() for info in opened if (file := opened.extractfile(info))}
    change(files)
    return tar(files)


def weights_path() -> str:
    return f"blobs/sha256/{Digest.of(GGUF).hex}"


def _without_weights(files: dict[str, bytes]) -> None:
    del files[weights_path()]


def _with_other_weights(files: dict[str, bytes]) -> None:
    files[weights_path()] = GGUF[:-1] + b"\xff" + b"x"


def _without_layout(files: dict[str, bytes]) -> None:
    del files["oci-layout"]


def _with_a_bad_name(files: dict[str, bytes]) -> None:
    files["index.json"] = files["index.json"].replace(b"library/small", b"../../small")


def _with_a_broken_index(files: dict[str, bytes]) -> None:
    files["index.json"] = b"{"


@pytest.mark.parametrize(
    "change",
    [
        _without_weights,
        _with_other_weights,
        _without_layout,
        _with_a_bad_name,
        _with_a_broken_index,
    ],
)
def test_a_changed_archive_leaves_no_model(
    store: Store, tmp_path: Path, change: Callable[[dict[str, bytes]], None]
) -> None:
    other = Store(tmp_path / "other")
    with pytest.raises(RegistryError):
        load_archive(other, io.BytesIO(repacked(archive(store, "small"), change)))
    assert other.list() == []


def test_large_wrong_blobs_are_found_while_they_are_read(store: Store, tmp_path: Path) -> None:
    digest = Digest.of(GGUF * 4000)
    assert len(GGUF * 4000) > 8 << 20

    def change(files: dict[str, bytes]) -> None:
        path = f"blobs/sha256/{digest.hex}"
        files[path] = files[path][:-1] + b"!"

    other = Store(tmp_path / "other")
    with pytest.raises(CorruptBlob):
        load_archive(other, io.BytesIO(repacked(archive(store), change)))
    assert other.list() == []
    assert not other.blobs.has(digest)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
def test_an_archive_that_is_cut_off_anywhere_is_refused(
    store: Store, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    data = compress(archive(store, "small"))
    other = Store(tmp_path / "other")
    for length in range(0, len(data) - 1200, max(len(data) // 40, 1)):
        with pytest.raises(RegistryError):
            load_archive(other, io.BytesIO(data[:length]))
    assert other.list() == []


def test_a_corrupt_blob_is_not_saved(store: Store) -> None:
    path = store.blobs.path(Digest.of(GGUF))
    os.chmod(path, 0o644)
    path.write_bytes(GGUF[:-1] + b"!")
    with pytest.raises(CorruptBlob):
        archive(store, "small")
