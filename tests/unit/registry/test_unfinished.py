"""What downloads, uploads and writes leave behind: all of it is shown, and removed by its age."""

import os
import time
from pathlib import Path

import pytest

from olmkit.registry.oci.digest import Digest
from olmkit.registry.store import journal
from olmkit.registry.store.locks import claimed_folder
from olmkit.registry.store.ranges import Ranges
from olmkit.registry.store.resumable import resumable_writer
from olmkit.registry.store.store import Store
from olmkit.registry.store.usage import unfinished, usage

DAY_S = 24 * 3600.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def age(folder: Path, days: float) -> None:
    then_s = time.time() - days * DAY_S
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (then_s, then_s))


def begin_download(store: Store, name: str, size_bytes: int, done_bytes: int) -> None:
    partial = journal.claim(store.blobs.partial, name, size_bytes)
    assert partial is not None
    partial.lay_out()
    partial.save(Ranges([(0, done_bytes)]))
    partial.close()


def begin_upload(store: Store, data: bytes, size_bytes: int) -> str:
    digest = Digest.of(data)
    with resumable_writer(store.blobs, digest, size_bytes, 0) as writer:
        assert writer is not None
        writer.write(data)
    return digest.file_name


def test_downloads_and_uploads_are_shown_with_what_came(store: Store) -> None:
    begin_download(store, "sha256-aa", 8192, 4096)
    name = begin_upload(store, b"some", 100)
    found = {entry.name: entry for entry in usage(store).partials}
    assert set(found) == {"sha256-aa", name}
    assert (found["sha256-aa"].size_bytes, found["sha256-aa"].completed_bytes) == (8192, 4096)
    assert (found[name].size_bytes, found[name].completed_bytes) == (100, 4)
    assert found["sha256-aa"].allocated_bytes < 8192  # the rest was given back
    assert not any(entry.is_running for entry in found.values())


def test_what_a_kill_left_without_a_journal_is_shown_too(store: Store) -> None:
    begin_download(store, "sha256-aa", 8192, 4096)
    (store.blobs.partial / "sha256-aa.json").unlink()
    (entry,) = usage(store).partials
    assert (entry.name, entry.size_bytes, entry.completed_bytes) == ("sha256-aa", 8192, 0)


def test_old_ones_are_removed_and_young_and_running_ones_stay(store: Store) -> None:
    folder = store.blobs.partial
    begin_download(store, "sha256-old", 8192, 4096)
    running = journal.claim(folder, "sha256-running", 10)
    assert running is not None
    running.lay_out()
    age(folder, 8)
    begin_download(store, "sha256-young", 8192, 4096)
    assert [entry.name for entry in journal.remove_old(folder)] == ["sha256-old"]
    assert [entry.name for entry in unfinished(store)] == ["sha256-running", "sha256-young"]
    assert [entry.name for entry in journal.remove_old(folder, 0.0)] == ["sha256-young"]
    running.remove()
    assert list(folder.iterdir()) == []


def test_locks_and_addresses_of_pushes_go_with_their_age(store: Store) -> None:
    folder = store.blobs.partial
    (folder / "uploads").mkdir(parents=True)
    for name in ("sha256-aa.lock", "sha256-bb.new", "uploads/cc.json", "uploads/cc.new"):
        (folder / name).write_bytes(b"{}")
    assert unfinished(store) == ()
    assert journal.remove_old(folder) == []
    assert len(list(folder.rglob("*.*"))) == 4
    age(folder, 8)
    assert journal.remove_old(folder) == []
    assert list(folder.rglob("*.*")) == []


def test_what_was_being_written_is_shown_and_goes_with_the_next_collection(store: Store) -> None:
    with claimed_folder(store.blobs.staging) as alive:
        (alive / "file").write_bytes(bytes(5000))
        dead = store.blobs.staging / "dead"
        dead.mkdir()
        (dead / "file").write_bytes(bytes(3000))
        found = {entry.size_bytes: entry for entry in usage(store).partials}
        assert {size: entry.is_running for size, entry in found.items()} == {
            5000: True,
            3000: False,
        }
        store.collect()
        assert not dead.exists()
        assert (alive / "file").exists()
    assert unfinished(store) == ()
