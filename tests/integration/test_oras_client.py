"""`oras` reads what olm pushed to Debian's registry, and olm what `oras` wrote."""

import base64
import hashlib
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.registry import formats
from olmkit.registry.archives.archivereader import load_archive
from olmkit.registry.archives.archivewriter import to_save, write_archive
from olmkit.registry.formats import Format
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Manifest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.oci.reference import Reference
from olmkit.registry.push import transfer
from olmkit.registry.sources import pull
from olmkit.registry.store.store import Store, StoredModel
from support.api import Api
from support.daemon import Daemon, running_daemon
from support.debian_registry import DebianRegistry, debian_registry
from support.models import smollm2
from support.olm import olm, out
from support.oras import Oras
from support.stores import GGUF, manifest

TEMPLATE = b"{{ .System }}{{ .Prompt }}"
LOGIN = "ann:se:cret"
PLAIN = "--plain-http"
FORMATS = [Format.MODELPACK, Format.OLLAMA, Format.DOCKER]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianRegistry]:
    with debian_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def oras(tmp_path: Path) -> Oras:
    (tmp_path / "work").mkdir()
    return Oras(tmp_path / "work")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def pushed(store: Store, registry: DebianRegistry, format_: Format) -> str:
    """A model of two layers in the registry; its name there."""
    name = f"{registry.host}/team/{format_.value}:1"
    reference = Reference.parse(name)
    store.put(reference, manifest(store, template=TEMPLATE))
    transfer.push_model(
        store.load(reference),
        store,
        RemoteAccess(),
        on_event=lambda event: None,
        cancelled=threading.Event(),
        options=transfer.PushOptions(format=format_.value),
    )
    return name


def pulled(store: Store, name: str) -> StoredModel:
    return pull(
        Reference.parse(name),
        store,
        on_event=lambda event: None,
        cancelled=threading.Event(),
        describe=lambda path: ModelConfig(model_format="gguf"),
    )


@pytest.mark.parametrize("format_", FORMATS)
def test_oras_reads_manifest_and_blobs_of_every_format(
    store: Store, registry: DebianRegistry, oras: Oras, format_: Format
) -> None:
    name = pushed(store, registry, format_)
    raw = oras("manifest", "fetch", PLAIN, name)
    told = json.loads(oras("manifest", "fetch", PLAIN, "--descriptor", name))
    assert told["digest"] == Digest.of(raw)
    read = Manifest.parse(raw)
    assert formats.format_of(read) is format_
    repository = name.rpartition(":")[0]
    for blob in read.blobs:
        data = oras("blob", "fetch", PLAIN, "--output", "-", f"{repository}@{blob.digest}")
        assert Digest.of(data) == blob.digest
    assert oras("repo", "tags", PLAIN, repository) == b"1\n"


def test_oras_pulls_the_files_of_a_modelpack_by_their_names(
    store: Store, registry: DebianRegistry, oras: Oras
) -> None:
    name = pushed(store, registry, Format.MODELPACK)
    oras("pull", PLAIN, name)
    files = {path.name: path.read_bytes() for path in oras.folder.rglob("*") if path.is_file()}
    assert sorted(files.values()) == sorted(
        store.blobs.path(layer.digest).read_bytes()
        for layer in Manifest.parse(oras("manifest", "fetch", PLAIN, name)).layers
    )
    assert [data for file, data in files.items() if file.endswith(".gguf")] == [GGUF]


@pytest.mark.parametrize("format_", FORMATS)
def test_a_copy_by_oras_into_a_layout_is_loaded_byte_for_byte(
    store: Store, registry: DebianRegistry, oras: Oras, tmp_path: Path, format_: Format
) -> None:
    name = pushed(store, registry, format_)
    oras("copy", "--from-plain-http", name, "--to-oci-layout", "layout:1")
    with running_daemon(tmp_path / "home") as daemon:
        environ = daemon.environ
        stdout = out(olm(environ, "load", "--name", "copied", "-i", "layout", cwd=oras.folder))
        assert stdout == "Loaded model: copied:latest\n"
        shown = json.loads(out(olm(environ, "inspect", "copied")))[0]
    told = json.loads(oras("manifest", "fetch", "--descriptor", "--oci-layout", "layout:1"))
    assert shown["id"] == told["digest"]


@pytest.mark.parametrize("format_", FORMATS)
def test_a_copy_by_oras_to_another_repository_is_the_same_model(
    store: Store, registry: DebianRegistry, oras: Oras, tmp_path: Path, format_: Format
) -> None:
    name = pushed(store, registry, format_)
    other = f"{registry.host}/elsewhere/{format_.value}:2"
    oras("copy", "--from-plain-http", "--to-plain-http", name, other)
    model = pulled(Store(tmp_path / "other"), other)
    assert model.manifest.raw == oras("manifest", "fetch", PLAIN, name)


def test_what_oras_attaches_is_discovered_and_leaves_the_model_as_it_is(
    store: Store, registry: DebianRegistry, oras: Oras, tmp_path: Path
) -> None:
    name = pushed(store, registry, Format.MODELPACK)
    before = oras("manifest", "fetch", PLAIN, name)
    (oras.folder / "card.md").write_text("# a card")
    kind = "application/vnd.example.card"
    oras("attach", PLAIN, "--artifact-type", kind, name, "card.md:text/markdown")
    found = json.loads(oras("discover", PLAIN, "--format", "json", name))
    assert [entry["artifactType"] for entry in found["manifests"]] == [kind]
    assert pulled(Store(tmp_path / "other"), name).manifest.raw == before


def test_an_archive_of_olm_is_an_oci_layout_to_oras(
    store: Store, registry: DebianRegistry, oras: Oras
) -> None:
    model = manifest(store, template=TEMPLATE)
    store.put(Reference.parse("small"), model)
    saved = to_save(store, [store.load(Reference.parse("small"))])
    archive = oras.folder / "saved.tar"
    archive.write_bytes(b"".join(write_archive(store, saved)))
    (tag,) = oras("repo", "tags", "--oci-layout", "saved.tar").decode().split()
    assert tag == Reference.parse("small").full
    with tarfile.open(archive) as opened:
        index = opened.extractfile("index.json")
        assert index is not None
        digest = json.load(index)["manifests"][0]["digest"]
    name = f"{registry.host}/from/archive:1"
    oras("copy", "--from-oci-layout", f"saved.tar@{digest}", "--to-plain-http", name)
    assert hashlib.sha256(oras("manifest", "fetch", PLAIN, name)).hexdigest() in digest
    with open(archive, "rb") as file:
        (loaded,) = load_archive(Store(oras.folder / "other"), file)
    assert loaded.manifest.raw == model.raw


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running_daemon(tmp_path / "home") as daemon:
        yield daemon


def answer(daemon: Daemon, name: str) -> str:
    """What a model says, always the same."""
    body = {
        "model": name,
        "prompt": "The capital of France is",
        "raw": True,
        "stream": False,
        "options": {"temperature": 0, "seed": 1, "num_predict": 8, "num_ctx": 256},
    }
    reply = Api(daemon).post("/api/generate", body).json
    assert reply.get("done_reason") == "length", reply
    return str(reply["response"])


def test_a_file_that_oras_pushed_is_pulled_and_runs(
    daemon: Daemon, registry: DebianRegistry, oras: Oras
) -> None:
    os.link(smollm2(), oras.folder / "smollm2.gguf")
    kind = "application/vnd.example.weights"
    name = f"{registry.host}/generic/smollm2:1"
    oras("push", PLAIN, "--artifact-type", kind, name, "smollm2.gguf")
    pulling = olm(daemon.environ, "pull", name)
    assert pulling.returncode == 0, pulling.stderr
    assert "Paris" in answer(daemon, name)
    (shown,) = json.loads(out(olm(daemon.environ, "inspect", name)))
    told = json.loads(oras("manifest", "fetch", PLAIN, "--descriptor", name))
    assert shown["id"] == told["digest"]

    again = f"{registry.host}/generic/again:1"
    out(olm(daemon.environ, "cp", name, again))
    out(olm(daemon.environ, "push", again))
    assert oras("manifest", "fetch", PLAIN, again) == oras("manifest", "fetch", PLAIN, name)


@pytest.mark.parametrize(
    "words", [["load", "--name", "mine", "layout"], ["pull", "oci:layout:mine"]], ids=str
)
def test_a_layout_that_oras_wrote_is_read_and_runs(
    daemon: Daemon, oras: Oras, words: list[str]
) -> None:
    os.link(smollm2(), oras.folder / "smollm2.gguf")
    oras("push", "--oci-layout", "layout:mine", "smollm2.gguf:application/octet-stream")
    done = olm(daemon.environ, *words, cwd=oras.folder)
    assert done.returncode == 0, done.stderr
    assert "Paris" in answer(daemon, "mine")


def test_a_login_with_oras_is_one_for_olm_and_the_reverse(
    daemon: Daemon, oras: Oras, tmp_path: Path
) -> None:
    config = Path(os.environ["DOCKER_CONFIG"]) / "config.json"
    with debian_registry(tmp_path / "private", login=LOGIN) as registry:
        host = registry.host
        name = f"{host}/team/m:1"
        (oras.folder / "m.gguf").write_bytes(GGUF)
        oras("login", PLAIN, "-u", "ann", "--password-stdin", host, stdin=b"se:cret\n")
        oras("push", PLAIN, name, "m.gguf")
        out(olm(daemon.environ, "pull", name))
        oras("logout", host)
        assert json.loads(config.read_text())["auths"] == {}
        out(olm(daemon.environ, "rm", name))
        assert olm(daemon.environ, "pull", name).returncode == 4

        words = ("login", "-u", "ann", "--password-stdin", host)
        out(olm(daemon.environ, *words, stdin="se:cret\n"))
        kept = json.loads(config.read_text())["auths"][host]["auth"]
        assert base64.b64decode(kept).decode() == LOGIN
        assert oras("repo", "tags", PLAIN, f"{host}/team/m") == b"1\n"
        out(olm(daemon.environ, "logout", host))
        assert json.loads(config.read_text())["auths"] == {}
