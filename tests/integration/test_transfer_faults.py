"""Downloads from a strict registry whose every fault ends well, or in one clear sentence."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from olmkit.registry.errors import (
    Cancelled,
    DiskFull,
    RemoteError,
    RemoteMisbehaved,
    RemoteRejected,
)
from olmkit.registry.events import BlobProgress, Event
from olmkit.registry.http.remote import RemoteRepository
from olmkit.registry.http.transferlimits import TransferLimits
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor
from olmkit.registry.oci.reference import Reference
from olmkit.registry.push.transfer import pull_blobs
from olmkit.registry.store import journal
from olmkit.registry.store.ranges import Ranges
from olmkit.registry.store.store import Store
from support.daemon import wait_until
from support.pulling import QUICK
from support.registry import Fault, Registry, serving

MIB = 1 << 20
FOUR_STREAMS = replace(QUICK, streams=4)
CONTENT = os.urandom(MIB) * 3 + os.urandom(5 * MIB + 7)

pytestmark = pytest.mark.timeout(60)
"""A server that stalls does so for longer: no test waits until it goes on."""


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as registry:
        yield registry


@dataclass
class Pull:
    """One pull of one blob, and what it told."""

    registry: Registry
    store: Store
    content: bytes = CONTENT
    limits: TransferLimits = FOUR_STREAMS
    events: list[Event] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.digest = Digest(self.registry.put_blob(self.content))

    def run(self) -> None:
        reference = Reference.parse(f"{self.registry.host}/library/m")
        blob = Descriptor(digest=self.digest, size_bytes=len(self.content))
        with RemoteRepository(reference, RemoteAccess()) as repository:
            pull_blobs(
                repository,
                [blob],
                self.store,
                on_event=self.events.append,
                cancelled=self.cancelled,
                limits=self.limits,
            )

    def assert_whole(self) -> None:
        assert self.store.blobs.path(self.digest).read_bytes() == self.content
        assert [p.name for p in self.store.blobs.partial.iterdir()] == []
        shown = [e.completed_bytes for e in self.events if isinstance(e, BlobProgress)]
        assert shown == sorted(shown)
        assert shown[-1] == len(self.content)

    @property
    def ranges(self) -> list[str]:
        return [s.headers.get("range", "") for s in self.registry.seen if "/blobs/" in s.path]


@pytest.fixture(params=["polled", "waited for"])
def any_pull(request: pytest.FixtureRequest, pull: Pull) -> Pull:
    """With bodies that tell when they can be read, and with chunked ones, which only block."""
    pull.registry.is_chunked = request.param != "polled"
    return pull


@pytest.fixture
def pull(registry: Registry, tmp_path: Path) -> Pull:
    return Pull(registry, Store(tmp_path / "store"))


def test_ranges_of_a_blob_are_read_side_by_side(pull: Pull) -> None:
    pull.registry.rate = 8 * MIB
    pull.run()
    pull.assert_whole()
    assert len(set(pull.ranges)) >= 8
    assert pull.registry.most_answering >= 3


@pytest.mark.parametrize(
    "fault",
    [
        Fault("cut", path="blobs/", after_bytes=300_000, times=5),
        Fault("cut", path="blobs/", after_bytes=0, times=3),
        Fault("drop", path="blobs/", times=3),
        Fault("status", path="blobs/", status=503, times=3),
        Fault("status", path="blobs/", status=429, times=2, headers={"Retry-After": "0"}),
        Fault("wrong_bytes", path="blobs/", skip=2),
        Fault("wrong_length", path="blobs/", times=3),
        Fault("wrong_range", path="blobs/", times=3),
        Fault("ignore_range", path="blobs/", times=99),
        Fault("ignore_range", path="blobs/", skip=3, times=99),
        Fault("status", path="blobs/", status=416, times=2),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.after_bytes}-{fault.skip}",
)
def test_a_fault_is_overcome(any_pull: Pull, fault: Fault) -> None:
    any_pull.registry.faults.append(fault)
    any_pull.run()
    any_pull.assert_whole()


def test_a_connection_that_stalls_is_replaced(any_pull: Pull) -> None:
    pull = any_pull
    pull.limits = replace(pull.limits, silence_s=0.5)
    pull.registry.faults.append(Fault("stall", path="blobs/", after_bytes=200_000, times=3))
    pull.run()
    pull.assert_whole()
    assert pull.registry.stalled == 3
    assert len(pull.ranges) >= len(CONTENT) // MIB + 3


def test_a_connection_far_slower_than_the_others_is_replaced(any_pull: Pull) -> None:
    pull, registry = any_pull, any_pull.registry
    pull.limits = replace(pull.limits, slow_s=1.0)
    registry.rate = 2 * MIB
    registry.faults.append(Fault("slow", path="blobs/", rate=20_000))
    pull.run()
    pull.assert_whole()
    wait_until(lambda: registry.answering == 0, what="the end of the slow answer")
    assert min(end - start for start, end in registry.spans) < MIB // 4


def test_an_address_that_expired_is_asked_for_again(pull: Pull) -> None:
    pull.registry.sign_life_s = 0.3
    pull.registry.rate = 4 * MIB
    pull.limits = replace(QUICK, streams=2)
    pull.run()
    pull.assert_whole()
    data = [s for s in pull.registry.seen if s.origin == "cdn"]
    assert len({s.path for s in data}) >= 2
    assert not any("authorization" in s.headers for s in data)


def test_a_signed_address_is_used_for_many_ranges(pull: Pull) -> None:
    pull.registry.sign_life_s = 60
    pull.run()
    pull.assert_whole()
    asked = [s for s in pull.registry.seen if s.origin == "registry" and "/blobs/" in s.path]
    assert len(asked) <= 4


def test_wrong_bytes_twice_end_in_one_sentence(pull: Pull) -> None:
    pull.registry.faults.append(Fault("wrong_bytes", path="blobs/", times=999))
    with pytest.raises(RemoteMisbehaved, match=f"digest mismatch.*instead of {pull.digest}"):
        pull.run()
    assert not pull.store.blobs.has(pull.digest)


def test_a_server_that_stays_broken_ends_it_with_its_own_words(pull: Pull) -> None:
    body = b'{"errors":[{"code":"UNAVAILABLE","message":"down for repairs"}]}'
    pull.registry.faults.append(Fault("status", path="blobs/", times=999, body=body))
    with pytest.raises(RemoteRejected, match="answered 503: down for repairs"):
        pull.run()


def test_a_refusal_is_not_tried_again(pull: Pull) -> None:
    pull.registry.faults.append(Fault("status", path="blobs/", status=451, times=999))
    with pytest.raises(RemoteError, match="answered 451"):
        pull.run()
    assert len(pull.ranges) <= 4


def test_the_lack_of_room_is_told_before_the_first_byte(registry: Registry, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    reference = Reference.parse(f"{registry.host}/library/m")
    blob = Descriptor(digest=Digest.of(b"x"), size_bytes=1 << 50)
    with (
        RemoteRepository(reference, RemoteAccess()) as repository,
        pytest.raises(DiskFull) as found,
    ):
        pull_blobs(
            repository,
            [blob],
            store,
            on_event=print,
            cancelled=threading.Event(),
            limits=QUICK,
        )
    assert found.value.needed_bytes is not None
    assert registry.paths(part="/blobs/") == []


def test_what_arrived_before_a_cancel_is_kept(any_pull: Pull) -> None:
    pull = any_pull
    pull.registry.rate = MIB

    def cancel() -> None:
        wait_until(lambda: pull.registry.sent_bytes > 3 * MIB)
        pull.cancelled.set()

    threading.Thread(target=cancel).start()
    with pytest.raises(Cancelled):
        pull.run()
    kept = journal.completed_bytes(pull.store.blobs.partial, pull.digest.file_name)
    assert kept > 2 * MIB
    pull.registry.rate, pull.cancelled = None, threading.Event()
    before = len(pull.registry.seen)
    first = len(pull.events)
    pull.run()
    pull.assert_whole()
    resumed = pull.events[first]
    assert isinstance(resumed, BlobProgress)
    asked = sum(
        int(end) - int(start) + 1
        for s in pull.registry.seen[before:]
        if (r := s.headers.get("range", "").removeprefix("bytes="))
        for start, end in [r.split("-")]
    )
    assert asked <= len(CONTENT) - kept + 64 * 1024


def test_a_journal_that_lies_costs_a_second_download_and_nothing_else(pull: Pull) -> None:
    partial = journal.claim(pull.store.blobs.partial, pull.digest.file_name, len(CONTENT))
    assert partial is not None
    partial.lay_out()
    partial.save(Ranges([(0, 4 * MIB)]))
    partial.close()
    pull.run()
    pull.assert_whole()


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"size": 1, "done": [[5, 2]]}', b"\xff" * 99])
def test_a_broken_journal_is_no_journal(pull: Pull, raw: bytes) -> None:
    pull.store.blobs.partial.mkdir(parents=True)
    (pull.store.blobs.partial / f"{pull.digest.file_name}.json").write_bytes(raw)
    pull.run()
    pull.assert_whole()


def test_ten_askers_share_one_download(registry: Registry, tmp_path: Path) -> None:
    registry.rate = 16 * MIB
    store = tmp_path / "store"
    pulls = [Pull(registry, Store(store), limits=replace(QUICK, streams=2)) for _ in range(10)]
    threads = [threading.Thread(target=one.run) for one in pulls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in pulls:
        one.assert_whole()
    sent = sum(1 for s in registry.seen if "/blobs/" in s.path)
    assert sent <= 2 * len(CONTENT) // MIB


def test_an_empty_blob_arrives(registry: Registry, tmp_path: Path) -> None:
    pull = Pull(registry, Store(tmp_path / "store"), content=b"")
    pull.run()
    assert pull.store.blobs.path(pull.digest).read_bytes() == b""
