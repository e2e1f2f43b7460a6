"""One store under several processes, under `kill -9`, and on disks that are full or read-only."""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from olmkit.registry.errors import StoreError
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store
from support.nobody import as_nobody
from support.smalldisk import run_on_small_disk
from support.store_program import WEIGHTS
from support.stores import GGUF, files_of, put_model

PROGRAM = Path(__file__).resolve().parents[1] / "support" / "store_program.py"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@contextmanager
def worker(store: Store, seed: int, *actions: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(PROGRAM), str(store.root), str(seed), *actions]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def assert_sound(store: Store) -> None:
    """Every name means a manifest whose blobs are whole; every blob is what it is called."""
    models, unreadable = store.scan()
    assert unreadable == ()
    for model in models:
        for blob in model.manifest.blobs:
            store.blobs.check(blob.digest, blob.size_bytes)
    for name in os.listdir(store.blobs.folder):
        store.blobs.verify(Digest(name))


def test_processes_that_put_remove_and_collect_at_once_never_harm_each_other(
    store: Store,
) -> None:
    with (
        worker(store, 1, "put", "put", "ingest", "remove") as first,
        worker(store, 2, "put", "ingest", "remove") as second,
        worker(store, 3, "collect") as third,
    ):
        time.sleep(4)
        done = Counter[str]()
        for process in (first, second, third):
            out, err = process.communicate("")
            assert process.returncode == 0, err
            done.update(out.split())
    assert min(done[name] for name in ("put", "ingest", "remove", "collect")) > 10, done
    assert_sound(store)
    store.collect(grace_s=-1)
    used = {blob.digest.file_name for model in store.list() for blob in model.manifest.blobs}
    assert {path for path in files_of(store) if path.startswith("blobs/")} == {
        f"blobs/{name}" for name in used
    }
    assert not list(store.incoming.iterdir())


def test_kills_at_random_moments_leave_a_sound_store(store: Store) -> None:
    dice = random.Random(7)
    for seed in range(25):
        with worker(store, seed, "put", "ingest", "remove", "collect") as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(dice.random() * 0.03)
        assert_sound(store)
    put_model(store, "after")
    store.collect(grace_s=-1)
    kinds = {path.partition("/")[0] for path in files_of(store)}
    assert kinds <= {"blobs", "manifests", "links", "incoming"}, "staging or leases remain"


def test_a_kill_in_mid_write_leaves_no_blob_and_the_next_write_cleans_up(store: Store) -> None:
    with worker(store, 0, "write") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        assert [path for path in files_of(store) if path.startswith("staging/")]
        store.blobs.put_bytes(b"beside it")
        assert [path for path in files_of(store) if path.startswith("staging/")]
    assert os.listdir(store.blobs.folder) == [Digest.of(b"beside it").file_name]
    store.blobs.put_bytes(b"after it")
    assert not [path for path in files_of(store) if path.startswith("staging/")]


def test_a_lease_ends_with_its_process(store: Store) -> None:
    digest = Digest.of(WEIGHTS[0])
    with worker(store, 0, "hold") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert store.collect(grace_s=-1).spared == 1
        assert store.blobs.has(digest)
    assert [blob.digest for blob in store.collect(grace_s=-1).unused] == [digest]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user can enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_a_store_of_another_user_can_be_read_and_refuses_writes_in_one_sentence(
    open_folder: Path,
) -> None:
    store = Store(open_folder / "models")
    put_model(store, "m")
    with as_nobody():
        if os.geteuid() == store.root.stat().st_uid:
            store.root.chmod(0o555)
            (store.root / "blobs").chmod(0o555)
        with store.lease():
            model = store.load(Reference.parse("m"))
            assert model.config(store).model_format == "gguf"
            weights = model.manifest.layers[0]
            assert store.blobs.has(weights.digest, weights.size_bytes)
            assert store.blobs.check(weights.digest).exists()
        for act in (
            lambda: store.remove(Reference.parse("m")),
            lambda: store.copy(Reference.parse("m"), Reference.parse("n")),
            lambda: store.blobs.put_bytes(b"new"),
            store.collect,
            lambda: store.adopt("ab" * 16),
        ):
            with pytest.raises(StoreError, match=f"cannot .* {store.root}.*: permission denied"):
                act()
    assert [model.reference.short for model in store.list()] == ["m:latest"]


@pytest.mark.parametrize("closed", ["manifests", "."])
def test_a_store_that_cannot_be_read_is_named(open_folder: Path, closed: str) -> None:
    store = Store(open_folder / "models")
    put_model(store, "m")
    store.root.joinpath(closed).chmod(0)
    try:
        with as_nobody():
            for act in (
                store.list,
                lambda: store.load(Reference.parse("m")),
                lambda: store.find(Reference.parse("M")),
            ):
                with pytest.raises(StoreError, match=f"cannot read {store.root}.*: permission"):
                    act()
    finally:
        store.root.joinpath(closed).chmod(0o755)


def test_a_folder_of_names_that_cannot_be_read_hides_no_other(open_folder: Path) -> None:
    store = Store(open_folder / "models")
    put_model(store, "m")
    put_model(store, "ghcr.io/a/b")
    closed = store.root / "manifests" / "registry.ollama.ai"
    closed.chmod(0)
    try:
        with as_nobody():
            models, unreadable = store.scan()
            with pytest.raises(StoreError, match=f"cannot read {closed}.*: permission"):
                store.load(Reference.parse("m"))
    finally:
        closed.chmod(0o755)
    assert [model.reference.short for model in models] == ["ghcr.io/a/b:latest"]
    assert [one.reason for one in unreadable] == [f"the folder {closed} cannot be read"]


def test_a_file_where_the_store_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file")
    for act in (store.list, lambda: store.blobs.put_bytes(b"x"), store.collect):
        with pytest.raises(StoreError, match=f"cannot .* {tmp_path}/file.*: not a directory"):
            act()


FULL_DISK = """
import os, sys
from support.stores import GGUF, manifest, files_of, put_model
from olmkit.registry.errors import DiskFull
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store

store = Store(folder / "models")
put_model(store, "m")
before = files_of(store)
big = os.urandom(3 << 20)

def refused(act):
    try:
        act()
    except DiskFull as error:
        print(error)
    else:
        print("not refused")
    assert files_of(store) == before, files_of(store) - before

def unannounced():
    with store.blobs.writer() as writer:
        for start in range(0, len(big), 65536):
            writer.write(big[start:start + 65536])

def announced():
    with store.blobs.writer(size_bytes=len(big)):
        print("the room was not looked for")

def copied():
    path = folder.parent / "elsewhere.gguf"
    path.write_bytes(big)
    store.blobs.ingest_file(path)

def manifested():
    made = manifest(store)
    with open(folder / "filler", "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"x" * 4096)
        except OSError:
            pass
    store.put(Reference.parse("n"), made)

for act in (unannounced, announced, copied, manifested):
    refused(act)
os.unlink(folder / "filler")
assert store.load(Reference.parse("m")).config(store).model_format == "gguf"
"""


def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(tmp_path: Path) -> None:
    lines = run_on_small_disk(FULL_DISK, tmp_path / "small", size="1m").splitlines()
    assert len(lines) == 4
    for line in lines:
        assert line.startswith(f"no space left in {tmp_path}/small/models/"), line
        assert "MB are free" in line
    assert lines[1].endswith("3.1 MB are needed")


READ_ONLY = """
from olmkit.registry.archives.archivereader import load_archive
from olmkit.registry.archives.archivewriter import to_save, write_archive
from support.stores import put_model
from olmkit.registry.errors import StoreError
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store

store = Store(folder / "models")
put_model(store, "m")
remount_read_only()
with store.lease():
    model = store.load(Reference.parse("m"))
    assert store.blobs.has(model.manifest.layers[0].digest)
    print(store.list()[0].reference.short, model.config(store).model_format)
    saved = to_save(store, [model])
    with open(archive, "wb") as file:
        for piece in write_archive(store, saved):
            file.write(piece)
with open(archive, "rb") as file:
    other = Store(Path(archive).with_name("other"))
    assert load_archive(other, file)[0].manifest.raw == model.manifest.raw
for act in (lambda: store.remove(Reference.parse("m")), lambda: store.blobs.put_bytes(b"new")):
    try:
        act()
    except StoreError as error:
        print(error)
"""


def test_a_read_only_store_runs_and_saves_models_and_refuses_writes(tmp_path: Path) -> None:
    program = f"archive = {str(tmp_path / 'm.tar')!r}\n{READ_ONLY}"
    first, *refusals = run_on_small_disk(program, tmp_path / "ro", size="1m").splitlines()
    assert first == "m:latest gguf"
    assert len(refusals) == 2
    for line in refusals:
        assert line.startswith("cannot ") and line.endswith(": read-only file system"), line


def test_ollamas_store_is_used_in_place(tmp_path: Path) -> None:
    """What Ollama wrote is read, run from and added to; what olm cannot read there stays."""
    root = tmp_path / "ollama" / "models"
    blobs = root / "blobs"
    blobs.mkdir(parents=True)
    config = b'{"model_format":"gguf","model_family":"llama","rootfs":{"diff_ids":[]}}'
    for data in (GGUF, config):
        (blobs / Digest.of(data).file_name).write_bytes(data)
    raw = (
        b'{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",'
        b'"config":{"digest":"%b","mediaType":"application/vnd.docker.container.image.v1+json",'
        b'"size":%d},"layers":[{"digest":"%b","mediaType":"application/vnd.ollama.image.model",'
        b'"size":%d,"from":"/x"}]}\n'
        % (Digest.of(config).encode(), len(config), Digest.of(GGUF).encode(), len(GGUF))
    )
    for path in ("registry.ollama.ai/library/Llama3/8b", "localhost:5000/me/m/latest"):
        (root / "manifests" / path).parent.mkdir(parents=True)
        (root / "manifests" / path).write_bytes(raw)
    partial = blobs / f"sha256-{'a' * 64}-partial"
    partial.write_bytes(b"half")
    os.utime(partial, (0, 0))

    store = Store(root)
    listed = sorted(model.reference.short for model in store.list())
    assert listed == ["Llama3:8b", "localhost:5000/me/m:latest"]
    model = store.load(Reference.parse("llama3:8b"))
    assert model.manifest.raw == raw
    assert model.id == Digest.of(raw).hex[:12]
    assert model.config(store).model_family == "llama"
    put_model(store, "ghcr.io/org/team/new", GGUF + b"new")
    store.remove(Reference.parse("ghcr.io/org/team/new"))
    store.collect(grace_s=-1)
    assert sorted(os.listdir(blobs)) == sorted(
        [Digest.of(GGUF).file_name, Digest.of(config).file_name, partial.name]
    )
