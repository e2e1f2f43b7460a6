"""What a daemon does at its start with what killed ones left, and what it leaves alone."""

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store import journal
from olmkit.registry.store.store import Store
from support.daemon import Daemon, running_daemon, start_daemon, wait_until
from support.kills import MIB, succeed, until_killed
from support.registry import Registry, serving
from support.stores import put_model

WEIGHTS = b"GGUF" + random.Random(5).randbytes(24 * MIB)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as registry:
        yield registry


@pytest.fixture
def store(olm_home: Path) -> Store:
    return Store(olm_home / "models")


def kill_amid_pull(registry: Registry, store: Store, home: Path) -> str:
    """Leave a download of which half arrived; returns the model's name."""
    name = f"{registry.host}/team/m:1"
    made = put_model(store, name, WEIGHTS)
    for blob in made.blobs:
        registry.put_blob(store.blobs.path(blob.digest).read_bytes(), "team/m")
    registry.put_manifest("team/m", "1", made.raw, made.media_type)
    store.remove(Reference.parse(name))
    registry.rate = 4 * MIB

    def pull(daemon: Daemon) -> None:
        succeed(daemon, "/api/pull", {"model": name})

    daemon = start_daemon(home)
    try:
        daemon.wait_until_ready()
        pulling = threading.Thread(target=until_killed, args=(pull, daemon))
        pulling.start()
        wait_until(lambda: registry.sent_bytes > 10 * MIB, timeout_s=20)
    finally:
        daemon.kill()
    pulling.join()
    registry.rate = None
    return name


def age(folder: Path, days: float) -> None:
    then_s = time.time() - days * 86400
    for path in folder.iterdir():
        os.utime(path, (then_s, then_s))


def leave_staged(store: Store) -> Path:
    """What a process that was killed was writing."""
    folder = store.blobs.staging / "left-by-a-kill"
    folder.mkdir(parents=True)
    (folder / "blob").write_bytes(bytes(4096))
    return folder


def test_a_killed_download_stays_a_week_and_goes_at_the_start_after_that(
    registry: Registry, store: Store, olm_home: Path
) -> None:
    kill_amid_pull(registry, store, olm_home)
    staged = leave_staged(store)
    (left,) = journal.unfinished(store.blobs.partial)
    assert left.completed_bytes > 5 * MIB
    unused = store.blobs.put_bytes(b"no manifest names this")

    age(store.blobs.partial, 6)
    with running_daemon(olm_home):
        wait_until(lambda: not staged.exists())
        time.sleep(0.3)
        assert journal.completed_bytes(store.blobs.partial, left.name) == left.completed_bytes
    age(store.blobs.partial, 8)
    with running_daemon(olm_home):
        wait_until(lambda: not os.listdir(store.blobs.partial))
    assert store.blobs.path(unused).exists()


def test_a_start_in_the_midst_keeps_a_download_resumable(
    registry: Registry, store: Store, olm_home: Path
) -> None:
    name = kill_amid_pull(registry, store, olm_home)
    (left,) = journal.unfinished(store.blobs.partial)
    registry.sent_bytes = 0
    with running_daemon(olm_home) as daemon:
        succeed(daemon, "/api/pull", {"model": name})
    assert registry.sent_bytes <= len(WEIGHTS) - left.completed_bytes + 2 * MIB
    store.blobs.verify(Digest.of(WEIGHTS))


def test_noprune_keeps_everything(store: Store, olm_home: Path) -> None:
    first = put_model(store, "m", b"GGUF" + bytes(5000))
    put_model(store, "other", b"GGUF" + bytes(6000))
    staged = leave_staged(store)
    with running_daemon(olm_home, environ={"OLM_NOPRUNE": "1"}) as daemon:
        time.sleep(0.3)
        assert staged.exists()
        body = {"source": "other", "destination": "m"}
        assert daemon.request("POST", "/api/copy", body)[0] == 200
        assert all(store.blobs.path(blob.digest).exists() for blob in first.blobs)
    with running_daemon(olm_home):
        wait_until(lambda: not staged.exists())
