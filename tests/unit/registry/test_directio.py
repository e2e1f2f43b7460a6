"""Files past the page cache: the same bytes whichever way they go, on any file system."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.registry.errors import StoreError
from olmkit.registry.store import journal
from olmkit.registry.store.directio import (
    ALIGNMENT_BYTES,
    BLOCK_BYTES,
    Blocks,
    DirectFile,
    allocate,
)
from olmkit.registry.store.ranges import Ranges


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "disk":
        yield tmp_path
        return
    if not os.path.ismount("/dev/shm"):
        pytest.skip("no tmpfs here")
    made = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, BLOCK_BYTES - 1, BLOCK_BYTES])
@pytest.mark.parametrize("offset", [0, ALIGNMENT_BYTES, 100])
def test_what_one_way_wrote_the_other_reads(folder: Path, size: int, offset: int) -> None:
    data, block, blocks = os.urandom(size), Blocks().take(), Blocks()
    block[:size] = data
    path = folder / "file"
    with open(path, "w+b") as opened:
        file = DirectFile(path, opened.fileno())
        try:
            for is_written_cached in (False, True):
                for is_read_cached in (True, False):
                    os.ftruncate(opened.fileno(), 0)
                    file.write(block[:size], offset, is_cached=is_written_cached)
                    found = blocks.take()
                    whole = -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
                    count = file.read(found[:whole], offset, is_cached=is_read_cached)
                    assert bytes(found[:count]) == data
                    blocks.give_back(found)
        finally:
            file.close()


def test_a_block_is_used_again_and_never_twice_at_once() -> None:
    blocks = Blocks()
    first, second = blocks.take(), blocks.take()
    first[0], second[0] = 1, 2
    assert (first[0], blocks.taken) == (1, 2)
    blocks.give_back(first)
    assert blocks.take() is first
    assert blocks.taken == 2


def test_a_file_that_is_let_go_of_in_use_is_closed_by_its_last_user(tmp_path: Path) -> None:
    partial = journal.claim(tmp_path, "name", 10)
    assert partial is not None
    with partial.hold():
        partial.close()
        assert os.pwrite(partial.fd, b"0123456789", 0) == 10
        assert journal.claim(tmp_path, "name", 10) is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(partial.fd)
    with pytest.raises(StoreError, match="closed"), partial.hold():
        pass
    partial.close()
    again = journal.claim(tmp_path, "name", 10)
    assert again is not None
    again.close()


def test_a_journal_that_is_written_late_does_not_come_back(tmp_path: Path) -> None:
    partial = journal.claim(tmp_path, "name", 10)
    assert partial is not None
    partial.save(Ranges([(0, 10)]))
    partial.remove()
    partial.save(Ranges([(0, 10)]))
    assert list(tmp_path.iterdir()) == []


def test_room_is_taken_before_anything_is_written(folder: Path) -> None:
    with open(folder / "file", "w+b") as file:
        allocate(file.fileno(), 1 << 20)
        found = os.fstat(file.fileno())
    assert (found.st_size, found.st_blocks * 512) == (0, 1 << 20)
