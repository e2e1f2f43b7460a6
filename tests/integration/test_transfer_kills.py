"""Pulls in processes of their own: killed at any moment, several at once."""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from olmkit.registry.oci.reference import Reference
from olmkit.registry.store import journal
from olmkit.registry.store.ranges import Ranges
from olmkit.registry.store.store import Store
from support.daemon import wait_until
from support.kills import KILLS, MIB
from support.pulling import publish, start
from support.registry import Registry, serving


@pytest.fixture(scope="module")
def weights() -> bytes:
    return b"GGUF" + os.urandom(16 * MIB)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as registry:
        yield registry


def test_a_killed_pull_resumes_from_what_had_arrived(registry: Registry, tmp_path: Path) -> None:
    registry.rate = MIB / 2
    weights = b"GGUF" + os.urandom(48 * MIB)
    name, manifest = publish(registry, weights)
    root = tmp_path / "store"
    process = start(root, name)
    wait_until(lambda: registry.sent_bytes >= 24 * MIB, timeout_s=60)
    process.kill()
    process.wait()
    arrived = registry.sent_bytes
    kept = journal.completed_bytes(Store(root).blobs.partial, manifest.layers[0].digest.file_name)
    registry.rate, registry.sent_bytes = None, 0
    assert start(root, name).wait(60) == 0
    # Ranges that change hands leave some bytes in buffers that nobody reads.
    assert registry.sent_bytes <= len(weights) - kept + 6 * MIB
    assert kept >= 0.9 * arrived - MIB  # sent is not arrived: buffers hold some
    assert Store(root).load(Reference.parse(name)).manifest.raw == manifest.raw


def distinct(spans: Iterable[tuple[int, int]]) -> Ranges:
    """What the registry got across, each byte once."""
    return Ranges((start, end) for start, end in spans if start < end)


def repeated_bytes(before: Ranges, after: Ranges) -> int:
    """How much of what had come across came again."""
    return sum(
        max(0, min(end, other_end) - max(start, other))
        for start, end in before
        for other, other_end in after
    )


@dataclass(frozen=True)
class Resumed:
    """A pull that was killed, and the one after it."""

    arrived: int
    """Bytes that the registry had got across to the first."""
    repeated: int
    """Of these, so many asked for again by the second."""

    @property
    def share(self) -> float:
        """What the second went on from."""
        return 1 - self.repeated / self.arrived


def kill_and_resume(root: Path, weights: bytes, after_s: float) -> Resumed:
    with serving() as registry:
        registry.rate = MIB / 8
        name, manifest = publish(registry, weights)
        process = start(root, name)
        wait_until(lambda: registry.sent_bytes > 4096)
        time.sleep(after_s)
        process.kill()
        process.wait()
        wait_until(lambda: registry.answering == 0)
        arrived = distinct(registry.spans)
        registry.rate, registry.spans = None, []
        assert start(root, name).wait(60) == 0
        wait_until(lambda: registry.answering == 0)
        again = distinct(registry.spans)
    store = Store(root)
    assert store.load(Reference.parse(name)).manifest.raw == manifest.raw
    store.blobs.verify(manifest.layers[0].digest)
    shutil.rmtree(root)
    return Resumed(
        arrived=arrived.total_bytes,
        repeated=repeated_bytes(arrived, again),
    )


@pytest.mark.parametrize(("least_s", "most_s"), [(0.1, 3.0), (5.0, 5.5)])
def test_the_next_pull_asks_again_for_little_of_what_had_arrived(
    tmp_path: Path, least_s: float, most_s: float, record_property: Callable[[str, object], None]
) -> None:
    generator = random.Random(least_s)
    weights = b"GGUF" + generator.randbytes(40 * MIB)
    found = [
        kill_and_resume(tmp_path / "store", weights, generator.uniform(least_s, most_s))
        for _ in range(max(2, KILLS // 10))
    ]
    record_property("shares", [round(one.share, 4) for one in found])
    # Less than a second after the start the new connections bring more than all before.
    assert [one for one in found if one.repeated > max(0.05 * one.arrived, MIB)] == []


def test_kills_at_random_moments_leave_a_store_that_is_right(
    registry: Registry, weights: bytes, tmp_path: Path
) -> None:
    registry.rate = 3 * MIB
    name, manifest = publish(registry, weights)
    root = tmp_path / "store"
    generator = random.Random(20)
    for _ in range(KILLS):
        process = start(root, name)
        time.sleep(generator.uniform(0.1, 1.2))
        process.kill()
        process.wait()
        store = Store(root)
        for blob in manifest.blobs:
            if store.blobs.has(blob.digest):
                store.blobs.verify(blob.digest)
        for model in store.list():
            assert all(store.blobs.has(b.digest, b.size_bytes) for b in model.manifest.blobs)
    registry.rate = None
    assert start(root, name).wait(60) == 0
    store = Store(root)
    assert store.load(Reference.parse(name)).manifest.raw == manifest.raw
    store.blobs.verify(manifest.layers[0].digest)
    assert list(store.blobs.partial.iterdir()) == []


def test_several_processes_share_one_download(
    registry: Registry, weights: bytes, tmp_path: Path
) -> None:
    registry.rate = 4 * MIB
    name, _ = publish(registry, weights)
    processes = [start(tmp_path / "store", name) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert registry.sent_bytes < 1.2 * len(weights)


def test_another_process_takes_over_when_the_first_is_killed(
    registry: Registry, weights: bytes, tmp_path: Path
) -> None:
    registry.rate = 1.25 * MIB
    name, _ = publish(registry, weights)
    first = start(tmp_path / "store", name)
    wait_until(lambda: registry.sent_bytes > 3 * MIB, timeout_s=60)
    second = start(tmp_path / "store", name)
    time.sleep(1.0)
    first.kill()
    first.wait()
    registry.rate = None
    assert second.wait(60) == 0
