"""Mark and sweep: what goes, what is spared, what stops it."""

import os
import threading
from pathlib import Path

import pytest

from olmkit.registry.errors import Cancelled
from olmkit.registry.events import BlobProgress, Event
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.collect import remove_stale
from olmkit.registry.store.store import Store
from support.stores import GGUF, files_of, put_model, write_raw_manifest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def wait_for_the_next_tick(store: Store) -> None:
    """Until the file system's clock, which is coarse, tells later changes from earlier ones."""
    probe = store.root / "probe"
    probe.touch()
    started_ns = probe.stat().st_mtime_ns
    while probe.stat().st_mtime_ns == started_ns:
        os.utime(probe)
    probe.unlink()


def test_blobs_that_nothing_mentions_go_and_others_stay(store: Store) -> None:
    put_model(store, "kept")
    before = files_of(store)
    garbage = store.blobs.put_bytes(b"garbage")
    found = store.collect(grace_s=-1)
    assert [blob.digest for blob in found.unused] == [garbage]
    assert found.freed_bytes == 7
    assert files_of(store) == before


def test_a_dry_run_says_the_same_and_removes_nothing(store: Store) -> None:
    store.blobs.put_bytes(b"garbage")
    before = files_of(store)
    planned = store.collect(grace_s=-1, is_dry_run=True)
    assert files_of(store) == before
    assert store.collect(grace_s=-1) == planned
    assert files_of(store) == set()


def test_a_collection_tells_how_far_it_is_and_ends_when_cancelled(store: Store) -> None:
    for number in range(4):
        store.blobs.put_bytes(bytes([number]) * 100)
    cancelled, told = threading.Event(), []

    def on_event(event: Event) -> None:
        assert isinstance(event, BlobProgress)
        told.append((event.completed_bytes, event.total_bytes))
        if event.completed_bytes == 200:
            cancelled.set()

    with pytest.raises(Cancelled):
        store.collect(grace_s=-1, on_event=on_event, cancelled=cancelled)
    assert told == [(100, 400), (200, 400)]
    assert len(store.collect(grace_s=-1).unused) == 2
    assert files_of(store) == set()


def test_what_dead_processes_left_goes_without_any_blob_going(store: Store) -> None:
    unused = store.blobs.put_bytes(b"no manifest names this")
    for folder in (store.blobs.staging, store.leases):
        (folder / "dead").mkdir(parents=True)
        (folder / "dead" / "file").touch()
    with store.blobs.workspace() as held:
        (held / "file").touch()
        (store.blobs.staging / "dead").mkdir(exist_ok=True)
        store.remove_leftovers()
        assert os.listdir(store.blobs.staging) == [held.name]
        assert (held / "file").exists()
    assert os.listdir(store.leases) == []
    assert store.blobs.has(unused)


def test_young_blobs_are_spared(store: Store) -> None:
    digest = store.blobs.put_bytes(b"young")
    found = store.collect()
    assert (found.unused, found.spared) == ((), 1)
    os.utime(store.blobs.path(digest), (0, 0))  # modified long ago, but linked now
    assert store.collect().spared == 1


def test_blobs_used_under_a_lease_are_spared_until_it_ends(store: Store) -> None:
    old = store.blobs.put_bytes(b"old")
    unused = store.blobs.put_bytes(b"unused")
    wait_for_the_next_tick(store)
    with store.lease():
        assert store.blobs.has(old)
        new = store.blobs.put_bytes(b"new")
        found = store.collect(grace_s=-1)
        assert [blob.digest for blob in found.unused] == [unused]
        assert store.blobs.has(old) and store.blobs.has(new)
    assert len(store.collect(grace_s=-1).unused) == 2


def test_the_lease_of_a_dead_process_holds_nothing(store: Store) -> None:
    store.blobs.put_bytes(b"garbage")
    dead = store.leases / "0123456789abcdef"
    dead.mkdir(parents=True)
    os.utime(dead, (0, 0))
    assert len(store.collect(grace_s=-1).unused) == 1
    assert not dead.exists()


def test_removing_a_model_spares_the_blobs_that_a_lease_found(store: Store) -> None:
    put_model(store, "m")
    with store.lease():
        assert store.blobs.has(Digest.of(GGUF))
        store.remove(Reference.parse("m"))
        assert store.blobs.has(Digest.of(GGUF))


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("registry.ollama.ai/library/bad/latest", b'{"config'),
        ("registry.ollama.ai/library/empty/latest", b""),
        ("registry.ollama.ai/library/list/latest", b"[]"),
        ("new/layout/of/some/kind", b"?"),
    ],
)
def test_nothing_goes_while_a_manifest_cannot_be_read(store: Store, path: str, raw: bytes) -> None:
    store.blobs.put_bytes(b"garbage")
    put_model(store, "m")
    write_raw_manifest(store.root, path, raw)
    before = files_of(store)
    found = store.collect(grace_s=-1)
    assert found.unused == ()
    assert [item.path for item in found.blocked_by] == [store.root / "manifests" / path]
    assert str(store.root / "manifests" / path) in found.blocked_by[0].reason
    assert files_of(store) == before
    store.remove(Reference.parse("m"))
    assert store.blobs.has(Digest.of(GGUF))


def test_nothing_goes_while_a_link_stands_in_a_manifests_place(store: Store) -> None:
    put_model(store, "m")
    path = store.root / "manifests/registry.ollama.ai/library/m/link"
    path.symlink_to("/nowhere")
    store.blobs.put_bytes(b"garbage")
    assert [item.path for item in store.collect(grace_s=-1).blocked_by] == [path]


@pytest.mark.parametrize(
    "template",
    [
        b'{"manifests":[{"digest":"%s","size":7}],"schemaVersion":2}',
        b'{"schemaVersion":9,"files":{"a":{"ref":"%s"}}}',
    ],
)
def test_digests_in_manifests_of_unknown_form_are_kept(store: Store, template: bytes) -> None:
    digest = store.blobs.put_bytes(b"precious")
    write_raw_manifest(store.root, "h/ns/m/1", template % digest.encode())
    write_raw_manifest(store.root, "h/ns/deeper/m/1", template % digest.file_name.encode())
    assert store.collect(grace_s=-1).unused == ()


def test_files_among_the_blobs_that_are_none_are_never_touched(store: Store) -> None:
    store.blobs.put_bytes(b"x")
    strangers = ["sha256-123", "README", f"sha256-{'A' * 64}", f"sha256:{'a' * 64}"]
    for name in strangers:
        (store.blobs.folder / name).write_bytes(b"?")
    assert len(store.collect(grace_s=-1).unused) == 1
    assert sorted(os.listdir(store.blobs.folder)) == sorted(strangers)


@pytest.mark.parametrize("suffix", ["-partial", "-partial-3", ".tmp"])
def test_nothing_goes_while_ollama_downloads(store: Store, suffix: str) -> None:
    store.blobs.put_bytes(b"garbage")
    partial = store.blobs.folder / f"sha256-{'a' * 64}{suffix}"
    partial.write_bytes(b"")
    assert [item.path for item in store.collect(grace_s=60).blocked_by] == [partial]
    os.utime(partial, (0, 0))
    assert store.collect(grace_s=60).blocked_by == ()
    assert partial.exists()


def test_a_blob_that_is_a_users_file_too_frees_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(GGUF)
    digest, _ = store.blobs.ingest_file(tmp_path / "file")
    is_shared = store.blobs.path(digest).stat().st_nlink == 2
    found = store.collect(grace_s=-1)
    assert found.freed_bytes == (0 if is_shared else len(GGUF))
    assert (tmp_path / "file").read_bytes() == GGUF
    assert files_of(store) == set()


def test_leftovers_of_the_dead_go(store: Store) -> None:
    put_model(store, "m")
    before = files_of(store)
    dead = store.blobs.staging / "0123456789abcdef"
    dead.mkdir(parents=True)
    (dead / "blob").write_bytes(b"half")
    links = store.root / "links"
    links.mkdir()
    (links / f"sha256-{'a' * 64}").write_bytes(b"{}")
    store.collect(grace_s=-1)
    assert files_of(store) == before


def test_files_handed_over_and_never_taken_go_after_a_while(store: Store) -> None:
    path = store.incoming / ("ab" * 16)
    path.write_bytes(b"x")
    store.collect(grace_s=-1)
    assert path.exists()
    remove_stale(store.incoming, grace_s=-1)
    assert not path.exists()


def test_a_store_that_is_not_there_has_nothing_to_collect(store: Store) -> None:
    found = store.collect()
    assert (found.unused, found.spared, found.blocked_by) == ((), 0, ())
