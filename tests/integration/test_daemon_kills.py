"""`kill -9` of a daemon at random moments of what it does: its store is right, and work goes on."""

import contextlib
import hashlib
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store
from support.api import Api
from support.daemon import Daemon, running_daemon, start_daemon, wait_until
from support.eager_program import COMMAND as EAGER
from support.kills import MIB, Kills, succeed, until_killed
from support.randommodel import write_llama
from support.registry import Registry, serving
from support.stores import put_model


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as registry:
        yield registry


def test_kills_while_pushing(registry: Registry, olm_home: Path) -> None:
    kills = Kills(olm_home)
    registry.upload_rate = 40 * MIB
    weights = b"GGUF" + random.Random(1).randbytes(20 * MIB)  # more than a chunk
    name = f"{registry.host}/team/m:1"
    made = put_model(kills.store, name, weights)
    body = {"model": name, "format": "ollama"}

    def forget() -> None:  # what a round finished, so that the next one has work
        if ("team/m", "1") in registry.manifests:
            registry.manifests.clear()
            registry.owned.clear()
            registry.uploads.clear()

    kills.rounds(lambda daemon: succeed(daemon, "/api/push", body), 0.8, often=forget)
    with running_daemon(olm_home) as daemon:
        succeed(daemon, "/api/push", body)
    assert registry.manifests["team/m", "1"][1] == made.raw
    for blob in made.blobs:
        assert hashlib.sha256(registry.blobs[str(blob.digest)]).hexdigest() == blob.digest.hex


def test_a_killed_push_goes_on_from_what_had_arrived(registry: Registry, olm_home: Path) -> None:
    registry.upload_rate = 20 * MIB
    store = Store(olm_home / "models")
    name = f"{registry.host}/team/m:1"
    made = put_model(store, name, b"GGUF" + random.Random(3).randbytes(40 * MIB))
    daemon = start_daemon(olm_home)
    try:
        daemon.wait_until_ready()
        body = {"model": name, "format": "ollama"}
        pushing = threading.Thread(
            target=until_killed, args=(lambda d: succeed(d, "/api/push", body), daemon)
        )
        pushing.start()
        wait_until(lambda: registry.received_bytes > 25 * MIB, timeout_s=30)
    finally:
        daemon.kill()
    pushing.join()
    arrived, registry.upload_rate = registry.received_bytes, None
    with running_daemon(olm_home) as again:
        succeed(again, "/api/push", body)
    repeated = registry.received_bytes - sum(blob.size_bytes for blob in made.blobs)
    assert repeated <= 0.05 * arrived


def test_kills_while_pulling(registry: Registry, olm_home: Path) -> None:
    kills = Kills(olm_home)
    registry.rate = 2 * MIB
    weights = b"GGUF" + random.Random(2).randbytes(12 * MIB)
    name = f"{registry.host}/team/m:1"
    made = put_model(kills.store, name, weights)
    for blob in made.blobs:
        registry.put_blob(kills.store.blobs.path(blob.digest).read_bytes(), "team/m")
    registry.put_manifest("team/m", "1", made.raw, made.media_type)

    def forget() -> None:
        with contextlib.suppress(Exception):
            kills.store.remove(Reference.parse(name))

    forget()
    body = {"model": name}
    kills.rounds(lambda daemon: succeed(daemon, "/api/pull", body), 0.8, often=forget)
    with running_daemon(olm_home) as daemon:
        succeed(daemon, "/api/pull", body)
    kills.assert_sound()
    assert kills.store.load(Reference.parse(name)).manifest.raw == made.raw


def test_kills_while_creating(olm_home: Path, tmp_path: Path) -> None:
    kills = Kills(olm_home)
    weights = write_llama(tmp_path / "tiny.gguf", layers=4, width=256)

    def create(daemon: Daemon) -> None:
        system = f"You are number {kills.dice.random()}."
        kind = kills.dice.choice([{}, {"quantize": "q8_0"}])
        Api(daemon).create(f"made:{kills.dice.randrange(4)}", weights, system=system, **kind)

    kills.rounds(create, 0.6)
    with running_daemon(olm_home) as daemon:
        Api(daemon).create("made:0", weights)
    kills.assert_sound()


def test_kills_while_removing(olm_home: Path) -> None:
    kills = Kills(olm_home)
    names = [f"made:{number}" for number in range(8)]

    def fill() -> None:
        for number, name in enumerate(names):
            put_model(kills.store, name, b"GGUF" + bytes([number // 2]) * 100_000)

    def remove(daemon: Daemon) -> None:
        for name in names:
            daemon.request("DELETE", "/api/delete", {"model": name})
        fill()

    kills.rounds(remove, 0.2, often=fill)
    with running_daemon(olm_home) as daemon:
        for model in kills.store.list():
            if model.reference.short != "kept:latest":
                body = {"model": model.reference.short}
                assert daemon.request("DELETE", "/api/delete", body)[0] == 200
    assert [model.reference.short for model in kills.store.list()] == ["kept:latest"]


def test_kills_while_pruning(olm_home: Path) -> None:
    kills = Kills(olm_home, command=EAGER)

    def litter() -> None:
        for number in range(40):
            kills.store.blobs.put_bytes(bytes([number]) * 10_000)

    def prune(daemon: Daemon) -> None:
        litter()
        status, reply = daemon.request("POST", "/api/prune", {"all": True})
        assert status == 200, (reply, daemon.log)

    kills.rounds(prune, 0.2, often=litter)
    with running_daemon(olm_home, command=EAGER) as daemon:
        prune(daemon)
    needed = {blob.digest for blob in kills.kept.blobs}
    assert {Digest(name) for name in os.listdir(kills.store.blobs.folder)} == needed
