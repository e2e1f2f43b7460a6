"""Pushes to the strict registry: mounted, whole, in chunks, resumed, byte for byte."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.registry import formats
from olmkit.registry.errors import (
    Cancelled,
    ModelNotFound,
    RemoteRejected,
    Unauthorized,
)
from olmkit.registry.events import BlobProgress, Event
from olmkit.registry.http.transferlimits import TransferLimits
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci.manifest import Manifest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.oci.reference import Reference
from olmkit.registry.push import transfer
from olmkit.registry.sources import PullOptions, pull
from olmkit.registry.store.store import Store
from support.registry import Fault, Registry, serving
from support.stores import manifest as model_manifest

MIB = 1 << 20
WEIGHTS = b"GGUF" + os.urandom(5 * MIB + 11)
ACCESS = RemoteAccess(limits=TransferLimits(chunk_bytes=MIB, first_pause_s=0.02))


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as registry:
        yield registry


class Pusher:
    """A store with one model, and pushes of it."""

    def __init__(self, registry: Registry, root: Path) -> None:
        self.registry = registry
        self.store = Store(root)
        self.made = model_manifest(self.store, WEIGHTS, template=b"{{ .Prompt }}")
        self.events: list[Event] = []
        self.cancelled = threading.Event()

    def push(self, name: str = "library/m", format: str | None = "ollama") -> Manifest:
        reference = Reference.parse(f"{self.registry.host}/{name}:1")
        self.store.put(reference, self.made)
        digest = transfer.push_model(
            self.store.load(reference),
            self.store,
            ACCESS,
            on_event=self.events.append,
            cancelled=self.cancelled,
            options=transfer.PushOptions(format=format),
        )
        media_type, raw = self.registry.manifests[name, "1"]
        found = Manifest.parse(raw)
        assert found.digest == digest
        assert found.media_type == media_type
        return found

    def bodies(self, method: str) -> list[int]:
        """Sizes of the bodies of requests to uploads, without the empty ones."""
        seen = self.registry.seen
        return [s.size for s in seen if s.method == method and "/uploads/" in s.path and s.size]


@pytest.fixture
def pusher(registry: Registry, tmp_path: Path) -> Pusher:
    return Pusher(registry, tmp_path / "store")


def test_the_manifest_arrives_byte_for_byte_and_progress_only_grows(pusher: Pusher) -> None:
    assert pusher.push().raw == pusher.made.raw
    shown: dict[str, int] = {}
    for event in pusher.events:
        if isinstance(event, BlobProgress):
            assert event.completed_bytes >= shown.get(event.label, 0)
            shown[event.label] = event.completed_bytes
    assert shown[f"pushing {pusher.made.layers[0].digest.short}"] == len(WEIGHTS)
    assert max(pusher.bodies("PATCH")) == MIB


@pytest.mark.parametrize("absolute", [False, True])
def test_locations_may_be_relative_or_absolute(pusher: Pusher, absolute: bool) -> None:
    pusher.registry.absolute_location = absolute
    pusher.push()


def test_what_is_there_is_not_sent_again(pusher: Pusher) -> None:
    pusher.push()
    pusher.registry.seen.clear()
    pusher.push()
    assert not pusher.registry.paths("POST")
    assert len(pusher.registry.paths("PUT")) == 1


def test_blobs_of_another_repository_are_mounted(pusher: Pusher) -> None:
    pusher.push("team/one")
    pusher.registry.seen.clear()
    pusher.push("team/two")
    assert all("mount=" in path for path in pusher.registry.paths("POST"))
    assert pusher.bodies("PUT") == []
    assert pusher.bodies("PATCH") == []


def test_a_refused_mount_becomes_an_upload(pusher: Pusher) -> None:
    pusher.push("team/one")
    pusher.registry.allow_mount = False
    pusher.push("team/two")


@pytest.mark.parametrize("status", [404, 405, 416])
def test_without_chunks_the_blob_goes_in_one_request(pusher: Pusher, status: int) -> None:
    pusher.registry.allow_patch = False
    fault = Fault("status", path="/uploads/", method="PATCH", status=status, times=99)
    pusher.registry.faults.append(fault)
    pusher.push()
    assert len(WEIGHTS) in pusher.bodies("PUT")


def test_chunks_are_not_shorter_than_the_registry_wants(pusher: Pusher) -> None:
    pusher.registry.min_chunk = 2 * MIB
    pusher.push()
    assert sorted(pusher.bodies("PATCH"))[-2:] == [2 * MIB, 2 * MIB]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("cut", method="PATCH-body", after_bytes=300_000, times=2, skip=1),
        Fault("drop", method="PATCH", times=3, skip=1),
        Fault("status", method="PATCH", status=503, times=3),
        Fault("status", method="POST", status=500, times=2),
        Fault("status", method="HEAD", path="/blobs/", status=502, times=2),
        Fault("cut", method="PUT-body", after_bytes=2, times=2),
        Fault("drop", method="PUT", path="/uploads/", times=2),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.method}",
)
def test_a_fault_while_pushing_is_overcome(pusher: Pusher, fault: Fault) -> None:
    pusher.registry.faults.append(fault)
    pusher.push()


def test_a_cancelled_push_goes_on_where_it_was(pusher: Pusher) -> None:
    weights = pusher.made.layers[0].digest
    stop_after = 3 * MIB

    class Stopping(list[Event]):
        def append(self, event: Event) -> None:
            super().append(event)
            match event:
                case BlobProgress(digest=digest) if digest == weights:
                    if event.completed_bytes > stop_after:  # so the third chunk was answered
                        pusher.cancelled.set()

    pusher.events = Stopping()
    pusher.registry.faults.append(
        Fault("status", method="PATCH", status=503, times=9, skip=3, headers={"Retry-After": "30"})
    )
    with pytest.raises(Cancelled):
        pusher.push()
    pusher.registry.faults.clear()
    pusher.registry.seen.clear()
    pusher.cancelled, pusher.events = threading.Event(), []
    pusher.push()
    assert sum(pusher.bodies("PATCH")) <= len(WEIGHTS) - stop_after


def test_a_refusal_is_told_in_the_registrys_words(pusher: Pusher) -> None:
    body = b'{"errors":[{"code":"QUOTA","message":"your plan has no room"}]}'
    pusher.registry.faults.append(Fault("status", method="POST", status=403, times=9, body=body))
    with pytest.raises(Unauthorized, match="your plan has no room"):
        pusher.push()


def test_a_manifest_that_is_refused_is_told(pusher: Pusher) -> None:
    body = b'{"errors":[{"code":"MANIFEST_INVALID","message":"unknown media type"}]}'
    pusher.registry.faults.append(
        Fault("status", path="/manifests/", method="PUT", status=400, times=9, body=body)
    )
    with pytest.raises(RemoteRejected, match="answered 400: unknown media type"):
        pusher.push()


@pytest.mark.parametrize("format_", [None, "modelpack", "docker", "ollama"])
def test_a_pull_of_what_was_pushed_gives_the_same_model(
    pusher: Pusher, tmp_path: Path, format_: str | None
) -> None:
    pushed = pusher.push(format=format_)
    expected = formats.Format(format_ or "modelpack")
    assert formats.format_of(pushed) is expected
    store = Store(tmp_path / "other")
    reference = Reference.parse(f"{pusher.registry.host}/library/m:1")
    pulled = pull(
        reference,
        store,
        on_event=lambda event: None,
        cancelled=threading.Event(),
        describe=lambda path: ModelConfig(),
        options=PullOptions(),
    )
    assert pulled.manifest.raw == pushed.raw
    parts = formats.read(store, pulled.manifest)
    original = formats.read(pusher.store, pusher.made)
    for role in (formats.Role.WEIGHTS, formats.Role.TEMPLATE):
        assert [p.digest for p in parts.of(role)] == [p.digest for p in original.of(role)]


def test_a_name_that_the_registry_lacks_is_not_found(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="is not in the registry"):
        pull(
            Reference.parse(f"{registry.host}/library/none"),
            Store(tmp_path / "store"),
            on_event=lambda event: None,
            cancelled=threading.Event(),
            describe=lambda path: ModelConfig(),
        )
