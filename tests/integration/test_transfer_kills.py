"""Pulls in processes of their own: killed at any moment, several at once."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.registry import journal, mediatypes
from olmkit.registry.digest import Digest
from olmkit.registry.manifest import Descriptor, Manifest
from olmkit.registry.reference import Reference
from olmkit.registry.store import Store
from support.registry import Registry, serving

PROGRAM = Path(__file__).resolve().parents[1] / "support" / "pull_program.py"
MIB = 1 << 20
WEIGHTS = b"GGUF" + os.urandom(48 * MIB)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as registry:
        yield registry


def publish(registry: Registry) -> tuple[str, Manifest]:
    config = b'{"model_format":"gguf"}'
    blobs = [
        Descriptor(
            media_type=media_type,
            digest=Digest(registry.put_blob(data)),
            size_bytes=len(data),
        )
        for media_type, data in (
            (mediatypes.DOCKER_CONFIG, config),
            (mediatypes.OLLAMA_MODEL, WEIGHTS),
        )
    ]
    manifest = Manifest.build(blobs[0], blobs[1:])
    registry.put_manifest("library/m", "1", manifest.raw, manifest.media_type)
    return f"{registry.host}/library/m:1", manifest


def start(store: Path, name: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, str(PROGRAM), str(store), name])


def test_a_killed_pull_resumes_from_what_had_arrived(registry: Registry, tmp_path: Path) -> None:
    registry.rate = MIB / 2
    name, manifest = publish(registry)
    root = tmp_path / "store"
    process = start(root, name)
    deadline_s = time.monotonic() + 20
    while registry.sent_bytes < 24 * MIB:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    process.kill()
    process.wait()
    arrived = registry.sent_bytes
    kept = journal.completed_bytes(Store(root).blobs.partial, manifest.layers[0].digest.file_name)
    registry.rate, registry.sent_bytes = None, 0
    assert start(root, name).wait(60) == 0
    # Ranges that change hands leave some bytes in buffers that nobody reads.
    assert registry.sent_bytes <= len(WEIGHTS) - kept + 6 * MIB
    assert kept >= 0.9 * arrived - MIB  # sent is not arrived: buffers hold some
    assert Store(root).load(Reference.parse(name)).manifest.raw == manifest.raw


def test_kills_at_random_moments_leave_a_store_that_is_right(
    registry: Registry, tmp_path: Path
) -> None:
    registry.rate = 8 * MIB
    name, manifest = publish(registry)
    root = tmp_path / "store"
    generator = random.Random(20)
    for _ in range(12):
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


def test_several_processes_share_one_download(registry: Registry, tmp_path: Path) -> None:
    registry.rate = 16 * MIB
    name, _ = publish(registry)
    processes = [start(tmp_path / "store", name) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert registry.sent_bytes < 1.2 * len(WEIGHTS)


def test_another_process_takes_over_when_the_first_is_killed(
    registry: Registry, tmp_path: Path
) -> None:
    registry.rate = 4 * MIB
    name, _ = publish(registry)
    first = start(tmp_path / "store", name)
    time.sleep(1.5)
    second = start(tmp_path / "store", name)
    time.sleep(1.0)
    first.kill()
    first.wait()
    registry.rate = None
    assert second.wait(60) == 0
