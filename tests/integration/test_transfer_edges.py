"""Downloads at the edges of what goes on at once: the hash behind, ends that meet."""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from olmkit.registry.download.blobdownload import RemoteBlob, RunningHash
from olmkit.registry.download.download import fetch
from olmkit.registry.errors import (
    Cancelled,
    RemoteMisbehaved,
    RemoteRejected,
    Unreachable,
)
from olmkit.registry.events import BlobProgress, Event
from olmkit.registry.http.remote import RemoteRepository
from olmkit.registry.http.transferlimits import TransferLimits
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store import journal
from olmkit.registry.store.blobs import BlobStore
from olmkit.registry.store.ranges import Ranges
from support.daemon import wait_until
from support.pulling import QUICK
from support.registry import Fault, Registry, serving
from support.smalldisk import run_on_small_disk

MIB = 1 << 20

pytestmark = pytest.mark.timeout(60)
"""A download that waits for what does not come hangs."""


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as registry:
        yield registry


@pytest.fixture(autouse=True)
def tidy(tmp_path: Path) -> Iterator[None]:
    """Leave no large files behind."""
    yield
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()


Way = Callable[[int, int | None], None]


@dataclass
class Download:
    """One blob of a registry, and something that happens before or after its answers."""

    registry: Registry
    blobs: BlobStore
    content: bytes
    before: Way = lambda start, end: None
    after: Way = lambda start, end: None
    on_event: Callable[[Event], None] = lambda event: None
    limits: TransferLimits = QUICK
    new_hash: Callable[[], RunningHash] = hashlib.sha256
    asked: list[tuple[int, int | None]] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.digest = Digest(self.registry.put_blob(self.content))

    def keep(self, *done: tuple[int, int]) -> None:
        """Be one that was interrupted: these ranges are there."""
        name, size_bytes = self.digest.file_name, len(self.content)
        partial = journal.claim(self.blobs.partial, name, size_bytes)
        assert partial is not None
        partial.lay_out()
        with open(partial.path, "r+b") as file:
            for start, end in done:
                file.seek(start)
                file.write(self.content[start:end])
        partial.save(Ranges(done))
        partial.close()

    def run(self, streams: int | None = None) -> None:
        """Download."""
        reference = Reference.parse(f"{self.registry.host}/library/m")
        with RemoteRepository(reference, RemoteAccess()) as repository:

            @contextmanager
            def opened(start: int, end: int | None) -> Iterator[httpx.Response]:
                self.asked.append((start, end))
                self.before(start, end)
                with repository.open_blob(self.digest, start, end) as response:
                    yield response
                self.after(start, end)

            wanted = RemoteBlob(
                label="blob",
                name=self.digest.file_name,
                size_bytes=len(self.content),
                digest=self.digest,
                open=opened,
                host=self.registry.host,
                new_hash=self.new_hash,
            )
            fetch(
                [wanted],
                self.blobs,
                on_event=self.on_event,
                cancelled=self.cancelled,
                limits=replace(self.limits, streams=streams),
            )


class StagedHash:
    """SHA-256, with something that happens before the piece at each offset is hashed."""

    def __init__(self, before: Callable[[int], None]) -> None:
        self._sum = hashlib.sha256()
        self._before = before
        self.hashed_bytes = 0

    def update(self, data: memoryview, /) -> None:
        self._before(self.hashed_bytes)
        self._sum.update(data)
        self.hashed_bytes += len(data)

    def hexdigest(self) -> str:
        return self._sum.hexdigest()


def test_wrong_bytes_are_fetched_again_by_a_reader_that_was_slow_to_end(
    registry: Registry, tmp_path: Path
) -> None:
    registry.faults.append(Fault("wrong_bytes", path="blobs/"))
    download = Download(
        registry, BlobStore(tmp_path), b"x" * 10_000, after=lambda start, end: time.sleep(0.3)
    )
    download.run(streams=1)
    download.blobs.verify(download.digest)


def test_what_a_second_answer_wrote_is_hashed_and_not_what_the_first_did(
    registry: Registry, tmp_path: Path
) -> None:
    content = bytes(range(256)) * (8 * MIB // 256)
    other = content[: 4 * MIB] + bytes(MIB) + content[5 * MIB :]
    sent_whole: list[int] = []

    def before(start: int, end: int | None) -> None:
        if end is None:
            sent_whole.append(start)
            registry.blobs[download.digest] = other if len(sent_whole) == 1 else content
        elif start == 0:
            wait_until(lambda: registry.sent_bytes >= 7 * MIB)
            time.sleep(0.2)
            raise RemoteRejected("no ranges any more", status=416)

    download = Download(registry, BlobStore(tmp_path), content, before=before)
    download.run(streams=4)
    download.blobs.verify(download.digest)
    assert len(sent_whole) == 2


def test_a_server_without_ranges_may_take_long_to_come_to_what_is_missing(
    registry: Registry, tmp_path: Path
) -> None:
    registry.faults.append(Fault("ignore_range", path="blobs/", times=99))
    registry.rate = 4 * MIB
    download = Download(registry, BlobStore(tmp_path), bytes(range(256)) * (4 * MIB // 256))
    download.limits = replace(QUICK, silence_s=0.2)
    download.keep((0, 3 * MIB))
    download.run()
    download.blobs.verify(download.digest)
    assert len(download.asked) <= 6


def test_connections_that_wait_for_the_hash_are_not_taken_for_slow_ones(
    registry: Registry, tmp_path: Path
) -> None:
    def before(offset: int) -> None:
        if offset == 4 * MIB:
            time.sleep(1)  # five times as long as a connection may be silent

    download = Download(registry, BlobStore(tmp_path), bytes(72 * MIB))
    download.limits = replace(QUICK, silence_s=0.2)
    download.new_hash = lambda: StagedHash(before)
    download.keep((0, MIB), (2 * MIB, 64 * MIB))
    download.run(streams=4)
    assert len(download.asked) <= 9 + 5  # as many as parts, and some that were divided


def test_connections_read_on_while_what_was_there_is_hashed(
    registry: Registry, tmp_path: Path
) -> None:
    have_all_arrived = threading.Event()

    def before(offset: int) -> None:
        assert have_all_arrived.wait(30), "the connections wait for the hash"

    def on_event(event: Event) -> None:
        if isinstance(event, BlobProgress) and event.completed_bytes >= 96 * MIB - 1:
            have_all_arrived.set()

    download = Download(registry, BlobStore(tmp_path), bytes(96 * MIB), on_event=on_event)
    download.new_hash = lambda: StagedHash(before)
    download.keep((0, 64 * MIB))
    download.run()
    download.blobs.check(download.digest, 96 * MIB)


def test_a_cancel_does_not_wait_until_what_was_there_is_hashed(
    registry: Registry, tmp_path: Path
) -> None:
    def before(offset: int) -> None:
        download.cancelled.set()
        time.sleep(0.01)

    registry.faults.append(Fault("stall", path="blobs/", times=99))
    download = Download(registry, BlobStore(tmp_path), bytes(64 * MIB))
    staged = StagedHash(before)
    download.new_hash = lambda: staged
    download.keep((0, 60 * MIB))
    with pytest.raises(Cancelled):
        download.run()
    assert 0 < staged.hashed_bytes < 30 * MIB
    assert not [t for t in threading.enumerate() if t.name in THREADS]
    kept = journal.completed_bytes(download.blobs.partial, download.digest.file_name)
    assert kept == 60 * MIB


@pytest.mark.parametrize("is_ranged", [True, False])
@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, MIB - 1, MIB + 1, 3 * MIB + 4096])
def test_blobs_of_every_alignment_go_on_from_journals_of_every_alignment(
    registry: Registry, tmp_path: Path, size: int, is_ranged: bool
) -> None:
    if not is_ranged:
        registry.faults.append(Fault("ignore_range", path="blobs/", times=999))
    generator = random.Random(size)
    for turn, root in enumerate((tmp_path, tmp_path, in_memory(tmp_path))):
        download = Download(registry, BlobStore(root), generator.randbytes(size))
        ends = sorted(generator.sample(range(size + 1), min(size + 1, 2 * turn)))
        download.keep(*zip(ends[::2], ends[1::2], strict=False))
        download.run(streams=3)
        download.blobs.verify(download.digest)
        assert list(download.blobs.partial.iterdir()) == []
        if root != tmp_path:
            shutil.rmtree(root)


def in_memory(other: Path) -> Path:
    """A folder of a file system without a disk, where there is one."""
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(dir=shared)) if os.access(shared, os.W_OK) else other / "other"


THREADS = ("download", "hash", "read", "write")

WRITE_ERROR = """
import os, resource, threading
from olmkit.registry.store.blobs import BlobStore
from olmkit.registry.errors import StoreError
from integration.test_transfer_edges import MIB, THREADS, Download
from support.registry import serving

with serving() as registry:
    registry.rate = 200_000
    download = Download(registry, BlobStore(folder), os.urandom(6 * MIB))
    def limit(start, end):
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, resource.RLIM_INFINITY))
    download.before = limit
    try:
        download.run()
    except StoreError as error:
        print(type(error).__name__, "cannot write to" in str(error), "too large" in str(error))
    print(registry.sent_bytes < 3 * MIB)
    opened = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    print([path for path in opened if path.startswith(str(folder))])
    print([t.name for t in threading.enumerate() if t.name in THREADS])
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    registry.rate, download.before = None, lambda start, end: None
    download.run()
    download.blobs.verify(download.digest)
    print("whole")
"""


def test_a_write_that_fails_ends_the_download_in_one_sentence(tmp_path: Path) -> None:
    prelude = f"import sys; from pathlib import Path; folder = Path({str(tmp_path)!r})\n"
    prelude += f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + WRITE_ERROR], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["StoreError True True", "True", "[]", "[]", "whole"], done


FULL = """
import os
import threading
from contextlib import suppress
from olmkit.registry.store.blobs import BlobStore
from olmkit.registry.errors import DiskFull
from integration.test_transfer_edges import MIB, Download
from support.registry import serving

with serving() as registry:
    registry.rate = MIB
    download = Download(registry, BlobStore(folder / "store"), os.urandom(4 * MIB))
    # A connection may be asked for when the download has already failed: it fills nothing then.
    filling, is_full = threading.Lock(), True
    def fill(start, end):
        with filling, suppress(OSError):
            with open(folder / "rest", "ab", buffering=0) as rest:
                while is_full:
                    rest.write(bytes(4096))
    download.before = fill
    try:
        download.run()
    except DiskFull as error:
        print("full", error.free_bytes < 4 * MIB)  # others may still be filling it
    with filling:
        is_full = False
        (folder / "rest").unlink()
    registry.rate, download.before = None, lambda start, end: None
    download.run()
    download.blobs.verify(download.digest)
    print("whole")
"""


def test_a_full_disk_is_told_and_what_came_is_gone_on_with(tmp_path: Path) -> None:
    assert run_on_small_disk(FULL, tmp_path / "disk", size="5m") == "full True\nwhole\n"


def test_a_server_that_sends_nothing_any_more_is_told_of_in_one_sentence(
    registry: Registry, tmp_path: Path
) -> None:
    registry.faults.append(Fault("stall", path="blobs/", after_bytes=5000, times=999))
    download = Download(registry, BlobStore(tmp_path), bytes(8 * MIB))
    download.limits = replace(QUICK, silence_s=0.2)
    with pytest.raises(Unreachable, match=f"^{registry.host} sends nothing any more$"):
        download.run()


def test_a_server_that_has_no_range_and_not_the_whole_is_not_asked_for_ever(
    registry: Registry, tmp_path: Path
) -> None:
    registry.faults.append(Fault("status", path="blobs/", status=416, times=999))
    download = Download(registry, BlobStore(tmp_path), bytes(8 * MIB))
    with pytest.raises(RemoteRejected, match="416"):
        download.run(streams=1)
    assert len(download.asked) == 2


def test_an_empty_blob_of_another_digest_is_refused(registry: Registry, tmp_path: Path) -> None:
    download = Download(registry, BlobStore(tmp_path), b"")
    download.digest = Digest.of(b"something")
    with pytest.raises(RemoteMisbehaved, match="digest mismatch"):
        download.run()


def test_a_first_answer_may_take_longer_than_a_silence(registry: Registry, tmp_path: Path) -> None:
    download = Download(
        registry, BlobStore(tmp_path), bytes(MIB), before=lambda start, end: time.sleep(1)
    )
    download.limits = replace(QUICK, silence_s=0.2)
    download.run(streams=1)
    assert len(download.asked) == 1


def test_a_connection_is_asked_for_one_range_after_the_other(
    registry: Registry, tmp_path: Path
) -> None:
    download = Download(registry, BlobStore(tmp_path), bytes(16 * MIB))
    download.run(streams=2)
    download.blobs.verify(download.digest)
    assert len(download.asked) == 2  # by way of the client; the other ranges without
    ranges = [s.headers["range"] for s in registry.seen if "/blobs/" in s.path]
    assert len(set(ranges)) >= 15


def test_a_cancel_does_not_wait_for_a_server_that_does_not_answer(
    registry: Registry, tmp_path: Path
) -> None:
    may_answer = threading.Event()

    def before(start: int, end: int | None) -> None:
        download.cancelled.set()
        may_answer.wait()

    download = Download(registry, BlobStore(tmp_path), b"x", before=before)
    with pytest.raises(Cancelled):
        download.run()
    may_answer.set()
    again = journal.claim(download.blobs.partial, download.digest.file_name, 1)
    assert again is not None
    again.close()
    for thread in threading.enumerate():
        if thread.name == "download":
            thread.join()  # it finds all closed, and says nothing
