"""`kill -9` of daemons and clients in the midst of save and load; clients that go away."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.engine.client import Client, connect
from olmkit.engine.client.storereplies import load, prune, usage
from olmkit.engine.models.spec import spec_of
from olmkit.engine.settings import Settings
from olmkit.registry.archives.archivewriter import to_save, write_archive
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store
from support.daemon import Daemon, running_daemon, start_daemon, wait_until
from support.formats import put_shards
from support.ggufsplit import split
from support.kills import KILLS, MIB, Kills
from support.olm import OLM, daemons, environment
from support.randommodel import write_llama
from support.stores import put_model

WEIGHTS = [b"GGUF" + random.Random(number).randbytes(32 * MIB) for number in range(2)]
NAMES = ["first:1", "second:1"]
PIECE = MIB // 4


def put_both(store: Store) -> None:
    for name, weights in zip(NAMES, WEIGHTS, strict=True):
        put_model(store, name, weights)


def forget(store: Store) -> None:
    for name in NAMES:
        with contextlib.suppress(Exception):
            store.remove(Reference.parse(name))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both models; equal models give equal bytes, so a whole archive is known by them."""
    folder = tmp_path_factory.mktemp("archive")
    store = Store(folder / "models")
    put_both(store)
    models = to_save(store, [store.load(Reference.parse(name)) for name in NAMES])
    path = folder / "both.tar"
    with open(path, "wb") as file:
        file.writelines(write_archive(store, models))
    return path


def pieces(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from iter(lambda: file.read(PIECE), b"")


def client(daemon: Daemon) -> Client:
    return connect(Settings.from_environment(daemon.environ), start=False)


def begun(
    daemon: Daemon, *words: str, stdin: int = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [OLM, *words],
        env=environment(daemon.environ),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stdin=stdin,
    )


def is_idle(store: Store) -> bool:
    """Whether nothing is held, and nothing half done lies about."""
    folders = (store.leases, store.blobs.staging)
    return not any(folder.exists() and os.listdir(folder) for folder in folders)


def sleep_into(work: "subprocess.Popen[bytes]", kills: Kills, longest_s: float) -> None:
    """Return at some moment of the command's work, seldom before or after it."""
    wait_until(lambda: not is_idle(kills.store) or work.poll() is not None)
    time.sleep(kills.dice.uniform(0, longest_s))


def test_kills_of_the_daemon_while_loading(archive: Path, olm_home: Path) -> None:
    kills = Kills(olm_home)

    def work(daemon: Daemon) -> None:
        assert load(client(daemon), pieces(archive)) == NAMES
        forget(kills.store)

    kills.rounds(work, 0.5, count=KILLS, often=lambda: forget(kills.store))
    with running_daemon(olm_home) as daemon:
        assert load(client(daemon), pieces(archive)) == NAMES
        wait_until(lambda: is_idle(kills.store))
    kills.assert_sound()


def test_kills_of_the_daemon_while_saving(archive: Path, olm_home: Path, tmp_path: Path) -> None:
    kills = Kills(olm_home)
    put_both(kills.store)
    target = tmp_path / "out" / "x.tar"
    target.parent.mkdir()
    whole, finished = archive.read_bytes(), 0
    for _ in range(KILLS):
        daemon = start_daemon(olm_home)
        try:
            daemon.wait_until_ready()
            saving = begun(daemon, "save", *NAMES, "-o", str(target))
            sleep_into(saving, kills, 0.25)
        finally:
            daemon.kill()
        status = saving.wait(30)
        for other in daemons(olm_home):  # the command starts one that it needs
            other.kill()
        assert (status == 0) == target.exists()
        assert os.listdir(target.parent) == [target.name] * target.exists()
        if target.exists():
            assert target.read_bytes() == whole
            target.unlink()
            finished += 1
        kills.assert_sound()
    assert finished < KILLS


def test_kills_of_the_command_while_saving(archive: Path, olm_home: Path, tmp_path: Path) -> None:
    kills = Kills(olm_home)
    put_both(kills.store)
    target = tmp_path / "out" / "x.tar"
    target.parent.mkdir()
    target.write_bytes(b"old")
    whole = archive.read_bytes()
    with running_daemon(olm_home) as daemon:
        for _ in range(KILLS):
            saving = begun(daemon, "save", *NAMES, "-o", str(target))
            sleep_into(saving, kills, 0.25)
            saving.kill()
            saving.wait()
            assert os.listdir(target.parent) == [target.name]
            assert target.read_bytes() in (b"old", whole)
        wait_until(lambda: is_idle(kills.store))


def test_kills_of_the_command_while_loading(archive: Path, olm_home: Path) -> None:
    kills = Kills(olm_home)
    with running_daemon(olm_home) as daemon:
        for _ in range(KILLS):
            forget(kills.store)
            loading = begun(daemon, "load", "-i", str(archive))
            sleep_into(loading, kills, 0.5)
            loading.kill()
            loading.wait()
            wait_until(lambda: is_idle(kills.store))
            kills.assert_sound()


def test_kills_of_the_daemon_while_shards_are_merged(olm_home: Path, tmp_path: Path) -> None:
    kills = Kills(olm_home)
    whole = write_llama(tmp_path / "whole.gguf", layers=4, width=512)
    parts = split(whole, tmp_path, "m", 3)
    name = "ghcr.io/a/sharded"
    put_shards(kills.store, name, [part.read_bytes() for part in parts])
    stored = kills.store.load(Reference.parse(name))
    path = tmp_path / "sharded.tar"
    with open(path, "wb") as file:
        file.writelines(write_archive(kills.store, to_save(kills.store, [stored])))

    def merge_anew(daemon: Daemon) -> None:
        assert load(client(daemon), pieces(path)) == [f"{name}:latest"]
        shutil.rmtree(kills.store.blobs.unpacked)

    kills.rounds(merge_anew, 0.6, count=max(2, KILLS // 2))
    with running_daemon(olm_home) as daemon:
        assert load(client(daemon), pieces(path)) == [f"{name}:latest"]
        wait_until(lambda: is_idle(kills.store))
    kills.assert_sound()
    merged = Path(spec_of(kills.store, stored).files.weights_path)
    assert merged.stat().st_size > 10 * MIB
    assert kills.store.blobs.is_whole(Digest(merged.name))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_load_leaves_nothing(
    archive: Path, olm_home: Path, number: signal.Signals
) -> None:
    store = Store(olm_home / "models")
    with running_daemon(olm_home) as daemon:
        loading = begun(daemon, "load", stdin=subprocess.PIPE)
        assert loading.stdin is not None
        loading.stdin.write(archive.read_bytes()[: 20 * MIB])
        wait_until(lambda: store.blobs.staging.exists() and not is_idle(store))
        loading.send_signal(number)
        assert loading.wait(10) == (130 if number is signal.SIGINT else -number)
        loading.stdin.close()
        wait_until(lambda: is_idle(store))
        assert store.list() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_save_leaves_nothing(
    olm_home: Path, tmp_path: Path, number: signal.Signals
) -> None:
    store = Store(olm_home / "models")
    put_both(store)
    target = tmp_path / "out" / "x.tar.gz"
    target.parent.mkdir()
    with running_daemon(olm_home) as daemon:
        saving = begun(daemon, "save", *NAMES, "-o", str(target))
        wait_until(lambda: not is_idle(store))
        saving.send_signal(number)
        assert saving.wait(10) == (130 if number is signal.SIGINT else -number)
        assert os.listdir(target.parent) == []
        wait_until(lambda: is_idle(store))


def test_what_a_killed_load_was_writing_is_listed_and_pruned(archive: Path, olm_home: Path) -> None:
    store = Store(olm_home / "models")
    daemon = start_daemon(olm_home)
    try:
        daemon.wait_until_ready()

        def cut() -> Iterator[bytes]:
            sent = 0
            for piece in pieces(archive):
                yield piece
                sent += len(piece)
                if sent >= 20 * MIB:
                    wait_until(lambda: bool(os.listdir(store.blobs.staging)))
                    daemon.kill()

        with contextlib.suppress(Exception):
            load(client(daemon), cut())
    finally:
        daemon.kill()
    assert not is_idle(store)
    with running_daemon(olm_home, environ={"OLM_NOPRUNE": "1"}) as again:
        (left,) = usage(client(again))["partials"]
        assert left["name"].startswith("staging/")
        done = prune(client(again), dry_run=False)
        assert [partial["name"] for partial in done["partials"]] == [left["name"]]
        assert done["freed"] >= left["allocated"]
        assert is_idle(store)


def test_blobs_that_a_broken_load_brought_are_not_written_again(
    archive: Path, olm_home: Path
) -> None:
    store = Store(olm_home / "models")
    whole = archive.read_bytes()
    with running_daemon(olm_home) as daemon:
        status, _ = daemon.request("POST", "/api/load", whole[: 50 * MIB])
        assert status >= 400
        (first,) = store.blobs.folder.iterdir()
        inode = first.stat().st_ino
        assert load(client(daemon), pieces(archive)) == NAMES
        assert first.stat().st_ino == inode
