"""Blobs: verified before they appear, linked where possible, checked when found."""

import os
import stat
from pathlib import Path

import pytest

from olmkit.registry.errors import CorruptBlob, StoreError
from olmkit.registry.oci.digest import BLOCK_BYTES, Digest
from olmkit.registry.store.blobs import BlobStore

DATA = bytes(range(256)) * 5000
DIGEST = Digest.of(DATA)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "models")


def leftovers(blobs: BlobStore) -> list[Path]:
    """Files of unfinished work."""
    return [path for path in blobs.staging.rglob("*") if path.is_file()]


def test_bytes_become_a_blob_in_ollamas_place_with_its_mode(blobs: BlobStore) -> None:
    assert blobs.put_bytes(DATA) == DIGEST
    path = blobs.path(DIGEST)
    assert path.parent.name == "blobs" and path.name == f"sha256-{DIGEST.hex}"
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(blobs.folder) == [path.name]
    assert not leftovers(blobs)


def test_bytes_that_are_there_are_not_written_again(blobs: BlobStore) -> None:
    blobs.put_bytes(DATA)
    inode = blobs.path(DIGEST).stat().st_ino
    blobs.put_bytes(DATA)
    assert blobs.path(DIGEST).stat().st_ino == inode


def test_a_hit_is_one_only_with_the_right_size(blobs: BlobStore) -> None:
    assert not blobs.has(DIGEST)
    blobs.put_bytes(DATA)
    assert blobs.has(DIGEST)
    assert blobs.has(DIGEST, len(DATA))
    assert not blobs.has(DIGEST, len(DATA) - 1)


def test_a_folder_under_a_blobs_name_is_no_blob(blobs: BlobStore) -> None:
    blobs.path(DIGEST).mkdir(parents=True)
    assert not blobs.has(DIGEST)


def test_a_writer_makes_the_blob_at_commit_only(blobs: BlobStore) -> None:
    with blobs.writer(expected=DIGEST, size_bytes=len(DATA)) as writer:
        for start in range(0, len(DATA), 7777):
            writer.write(DATA[start : start + 7777])
        assert writer.written_bytes == len(DATA)
        assert not blobs.has(DIGEST)
        assert writer.commit() == DIGEST
    assert blobs.path(DIGEST).read_bytes() == DATA
    assert not leftovers(blobs)


def test_without_a_commit_nothing_remains(blobs: BlobStore) -> None:
    with blobs.writer() as writer:
        writer.write(DATA)
    assert os.listdir(blobs.folder) == []
    assert not leftovers(blobs)


def test_an_error_in_the_block_leaves_nothing(blobs: BlobStore) -> None:
    with pytest.raises(KeyError), blobs.writer() as writer:
        writer.write(DATA)
        raise KeyError
    assert os.listdir(blobs.folder) == []
    assert not leftovers(blobs)


@pytest.mark.parametrize("size_bytes", [None, len(DATA)])
def test_other_bytes_than_expected_never_appear(blobs: BlobStore, size_bytes: int | None) -> None:
    with (
        pytest.raises(CorruptBlob, match=f"the content of {DIGEST} does not match") as caught,
        blobs.writer(expected=DIGEST, size_bytes=size_bytes) as writer,
    ):
        writer.write(DATA[:-1] + b"?")
        writer.commit()
    assert caught.value.expected == DIGEST
    assert os.listdir(blobs.folder) == []
    assert not leftovers(blobs)


def test_more_bytes_than_announced_are_refused_at_once(blobs: BlobStore) -> None:
    with pytest.raises(CorruptBlob, match="more than 3 bytes"), blobs.writer(size_bytes=3) as out:
        out.write(b"1234")


def test_fewer_bytes_than_announced_are_refused_at_commit(blobs: BlobStore) -> None:
    with pytest.raises(CorruptBlob, match="2 of 3 bytes"), blobs.writer(size_bytes=3) as out:
        out.write(b"12")
        out.commit()


def test_small_blobs_are_verified_and_bounded_when_read(blobs: BlobStore) -> None:
    digest = blobs.put_bytes(b"small")
    assert blobs.read_small(digest, 5) == b"small"
    with pytest.raises(StoreError, match="longer than 4 bytes"):
        blobs.read_small(digest, 4)
    blobs.path(digest).write_bytes(b"other")
    with pytest.raises(CorruptBlob, match="holds other bytes"):
        blobs.read_small(digest, 5)
    with pytest.raises(StoreError, match="is missing"):
        blobs.read_small(DIGEST, 5)


def test_check_gives_the_path_or_says_what_is_wrong(blobs: BlobStore) -> None:
    with pytest.raises(StoreError, match=f"blob {DIGEST} is missing"):
        blobs.check(DIGEST)
    blobs.put_bytes(DATA)
    assert blobs.check(DIGEST, len(DATA)) == blobs.path(DIGEST)
    os.truncate(blobs.path(DIGEST), 10)
    with pytest.raises(CorruptBlob, match=f"has 10 bytes instead of {len(DATA)}"):
        blobs.check(DIGEST, len(DATA))


def test_verify_reads_every_byte(blobs: BlobStore) -> None:
    blobs.put_bytes(DATA)
    seen: list[int] = []
    blobs.verify(DIGEST, seen.append)
    assert seen[-1] == len(DATA)
    blobs.path(DIGEST).write_bytes(DATA[:-1] + b"?")
    with pytest.raises(CorruptBlob) as caught:
        blobs.verify(DIGEST)
    assert (caught.value.expected, caught.value.actual) == (DIGEST, Digest.of(DATA[:-1] + b"?"))


def test_ingesting_shares_the_files_bytes_instead_of_copying_them(
    blobs: BlobStore, tmp_path: Path
) -> None:
    source = tmp_path / "m.gguf"
    source.write_bytes(DATA)
    source.chmod(0o600)
    mtime_ns = source.stat().st_mtime_ns
    seen: list[int] = []
    assert blobs.ingest_file(source, on_bytes=seen.append) == (DIGEST, len(DATA))
    blob = blobs.path(DIGEST).stat()
    is_hard_link = os.path.samestat(blob, source.stat())
    assert is_hard_link or blob.st_nlink == 1  # where the file system has reflinks
    assert stat.S_IMODE(source.stat().st_mode) == 0o600
    assert source.stat().st_mtime_ns == mtime_ns
    assert seen[-1] == len(DATA)
    assert not leftovers(blobs)


def test_ingesting_across_file_systems_copies(blobs: BlobStore, tmp_path: Path) -> None:
    source = Path("/dev/shm") / f"olm-test-{os.getpid()}"
    source.write_bytes(DATA)
    try:
        assert source.stat().st_dev != tmp_path.stat().st_dev
        assert blobs.ingest_file(source) == (DIGEST, len(DATA))
    finally:
        source.unlink()
    assert blobs.path(DIGEST).read_bytes() == DATA
    assert stat.S_IMODE(blobs.path(DIGEST).stat().st_mode) == 0o644


def test_ingesting_twice_keeps_the_first_blob(blobs: BlobStore, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(DATA)
        assert blobs.ingest_file(tmp_path / name) == (DIGEST, len(DATA))
    assert blobs.ingest_file(blobs.path(DIGEST)) == (DIGEST, len(DATA))
    assert os.listdir(blobs.folder) == [DIGEST.file_name]
    assert not leftovers(blobs)


def test_ingesting_follows_a_link_to_its_file(blobs: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    (tmp_path / "link").symlink_to("file")
    assert blobs.ingest_file(tmp_path / "link") == (DIGEST, len(DATA))
    assert not blobs.path(DIGEST).is_symlink()
    with pytest.raises(StoreError, match="cannot read"):
        blobs.ingest_file(tmp_path / "link", follow_links=False)


def test_what_is_no_regular_file_is_refused(blobs: BlobStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(StoreError, match=f"{path} is no regular file"):
            blobs.ingest_file(path)
    with pytest.raises(StoreError, match=f"cannot read {tmp_path}/none: no such file"):
        blobs.ingest_file(tmp_path / "none")


@pytest.mark.parametrize("source_folder", ["same", "other"])
def test_a_file_that_changes_while_it_is_hashed_is_refused(
    blobs: BlobStore, tmp_path: Path, source_folder: str
) -> None:
    folder = tmp_path if source_folder == "same" else Path("/dev/shm")
    source = folder / f"olm-test-changing-{os.getpid()}"
    source.write_bytes(bytes(3 * BLOCK_BYTES))

    def write_to_it(completed_bytes: int) -> None:
        if completed_bytes == BLOCK_BYTES:
            with open(source, "r+b") as file:
                file.write(b"changed")

    try:
        with pytest.raises(StoreError, match=f"{source} was changed while it was read"):
            blobs.ingest_file(source, on_bytes=write_to_it)
    finally:
        source.unlink()
    assert os.listdir(blobs.folder) == []
    assert not leftovers(blobs)


def test_the_caller_can_stop_an_ingest(blobs: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(bytes(3 * BLOCK_BYTES))

    def stop(completed_bytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        blobs.ingest_file(source, on_bytes=stop)
    assert os.listdir(blobs.folder) == []
    assert not leftovers(blobs)


@pytest.fixture
def linked(blobs: BlobStore, tmp_path: Path) -> Path:
    """A user's file that is a blob too."""
    source = tmp_path / "linked.gguf"
    source.write_bytes(DATA)
    blobs.ingest_file(source)
    if blobs.path(DIGEST).stat().st_ino != source.stat().st_ino:
        pytest.skip("this file system has reflinks: later writes do not reach the blob")
    return source


def test_a_blob_written_through_the_users_file_is_noticed(blobs: BlobStore, linked: Path) -> None:
    assert blobs.check(DIGEST, len(DATA)) == blobs.path(DIGEST)
    with open(linked, "r+b") as file:
        file.write(b"changed")
    os.utime(linked, ns=(1, 1))  # whatever the clock's grain
    assert not blobs.has(DIGEST)
    with pytest.raises(CorruptBlob, match=f"blob {DIGEST} was changed after it was added"):
        blobs.check(DIGEST, len(DATA))


def test_a_blob_that_is_only_touched_is_read_once_and_fine(blobs: BlobStore, linked: Path) -> None:
    os.utime(linked, ns=(1, 1))
    assert not blobs.has(DIGEST)
    assert blobs.check(DIGEST, len(DATA)) == blobs.path(DIGEST)
    assert blobs.has(DIGEST)


def test_a_changed_blob_is_replaced_when_its_bytes_come_again(
    blobs: BlobStore, linked: Path
) -> None:
    linked.write_bytes(DATA[::-1])
    os.utime(linked, ns=(1, 1))
    blobs.put_bytes(DATA)
    assert blobs.check(DIGEST).read_bytes() == DATA
    assert linked.read_bytes() == DATA[::-1]


def test_a_file_that_is_a_blob_already_is_not_read_again(blobs: BlobStore, linked: Path) -> None:
    other = linked.with_name("other-link")
    other.hardlink_to(linked)
    seen: list[int] = []
    for path in (linked, other):
        assert blobs.ingest_file(path, on_bytes=seen.append) == (DIGEST, len(DATA))
    assert seen == []
    linked.write_bytes(DATA[::-1])
    os.utime(linked, ns=(1, 1))
    assert blobs.ingest_file(linked, on_bytes=seen.append) == (Digest.of(DATA[::-1]), len(DATA))
    assert seen != []


def test_a_replaced_user_file_leaves_the_blob_alone(blobs: BlobStore, linked: Path) -> None:
    linked.unlink()
    linked.write_bytes(b"new")
    assert blobs.check(DIGEST).read_bytes() == DATA
    assert blobs.has(DIGEST)


def test_finding_a_blob_does_not_touch_its_time_of_modification(
    blobs: BlobStore, linked: Path
) -> None:
    before = linked.stat()
    blobs.has(DIGEST)
    after = linked.stat()
    assert after.st_mtime_ns == before.st_mtime_ns
    assert after.st_ctime_ns > before.st_ctime_ns


def test_discarding_takes_the_record_of_the_link_too(blobs: BlobStore, linked: Path) -> None:
    blobs.discard(DIGEST)
    blobs.discard(DIGEST)
    assert not blobs.has(DIGEST)
    assert linked.read_bytes() == DATA
    assert [path for path in blobs.folder.parent.rglob("*") if path.is_file()] == []


def test_work_of_a_dead_process_is_cleaned_by_the_next_write(blobs: BlobStore) -> None:
    blobs.put_bytes(b"x")
    dead = blobs.staging / "0123456789abcdef"
    dead.mkdir()
    (dead / "blob").write_bytes(DATA)
    blobs.put_bytes(b"y")
    assert not dead.exists()


def test_old_names_become_todays_unless_those_are_there(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    assert blobs.rename_old() == 0  # no store yet
    there = blobs.put_bytes(b"there")
    (blobs.folder / there).write_bytes(b"older")
    old = Digest.of(b"old")
    (blobs.folder / f"sha256:{old.hex.upper()}").write_bytes(b"old")
    assert blobs.rename_old() == 2
    assert blobs.read_small(old, 100) == b"old"
    assert blobs.read_small(there, 100) == b"there"
    assert (blobs.folder / there).exists()
