"""What a registry, an archive or an uploader may cost: small numbers, real sockets and daemons."""

import contextlib
import http.client
import io
import json
import os
import socket
import ssl
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from olmkit.registry.cancellation import Cancellation
from olmkit.registry.errors import DiskFull
from olmkit.registry.http.sockets import Sockets
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.http.wire import Transport
from olmkit.registry.oci.digest import Digest
from olmkit.registry.store import journal
from olmkit.registry.store.blobs import BlobStore
from olmkit.registry.store.ranges import Ranges
from support.api import Api
from support.attack import connected
from support.attacktable import Record, Stopwatch
from support.daemon import Daemon, running_daemon, wait_until
from support.gguffile import GgufFile
from support.rawserver import Step, raw_server
from support.stores import remove_models

GIB = 1 << 30
DRIP: list[Step] = [step for _ in range(600) for step in (b"x", 0.1)]
ENDLESS_INTERIM: list[Step] = [
    step for _ in range(600) for step in (b"HTTP/1.1 100 Continue\r\n\r\n", 0.05)
]


IMPATIENT = {"OLM_STALL_TIMEOUT": "2s"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("hostile") / "home", environ=IMPATIENT) as running:
        yield running


@pytest.fixture
def daemon(shared: Daemon) -> Iterator[Daemon]:
    """The daemon of all tests, without models at the start of each."""
    yield shared
    remove_models(shared.home / "models")


# --- registries -----------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [[], [b"HTTP/1.1 200 OK\r\nx: ", *DRIP], ENDLESS_INTERIM])
def test_a_pull_from_a_registry_that_never_answers_ends_with_its_client(
    daemon: Daemon, answer: list[Step], record_property: Record
) -> None:
    with raw_server(*[answer] * 4) as server:
        host = server.address.split("/")[2]
        body = json.dumps({"model": f"{host}/library/m", "stream": True}).encode()
        with connected(daemon) as client:
            client.sendall(
                b"POST /api/pull HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            wait_until(lambda: server.connections > 0, what="the pull")
            time.sleep(0.3)
        watch = Stopwatch()
        wait_until(
            lambda: not _connections_to(daemon, int(host.rpartition(":")[2])),
            timeout_s=5,
            what="the end of the pull's connections",
        )
        record_property("bound", "its connections end within 5 s of the client")
        record_property("measured", f"{watch.elapsed_s:.2f} s")


def _connections_to(daemon: Daemon, port: int) -> list[object]:
    import psutil

    return [
        one
        for one in psutil.Process(daemon.process.pid).net_connections("tcp")
        if one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED
    ]


@pytest.mark.parametrize("answer", [[], [b"HTTP/1.1 200 OK\r\nx: ", *DRIP]])
def test_the_daemon_ends_in_time_while_a_registry_is_silent(
    tmp_path: Path, answer: list[Step], record_property: Record
) -> None:
    with (
        running_daemon(tmp_path / "home", environ=IMPATIENT) as daemon,
        raw_server(*[answer] * 4) as server,
    ):
        host = server.address.split("/")[2]
        pulling = threading.Thread(target=_ask_to_pull, args=(daemon, f"{host}/library/m"))
        pulling.start()
        wait_until(lambda: server.connections > 0, what="the pull")
        watch = Stopwatch()
        assert daemon.stop() == 0  # within `daemon.STOP_TIMEOUT_S`
        record_property("bound", "SIGTERM ends the daemon within 10 s")
        record_property("measured", f"{watch.elapsed_s:.1f} s")
        pulling.join(5)
        assert "ended without waiting" not in daemon.log


def _ask_to_pull(daemon: Daemon, name: str) -> None:
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        daemon.request("POST", "/api/pull", {"model": name})


def test_a_head_has_a_deadline() -> None:
    sockets = Sockets(None, head_s=0.5)
    transport = Transport(ssl.create_default_context(), httpx.Limits(), sockets)
    with (
        raw_server(
            [b"HTTP/1.1 200 OK\r\nx: ", *DRIP], [b"HTTP/1.1 200 OK\r\nx: ", *DRIP]
        ) as server,
        httpx.Client(transport=transport, trust_env=False) as client,
    ):
        for method in ("GET", "HEAD"):
            with pytest.raises(httpx.ReadTimeout):
                client.request(method, server.address)


def test_interim_answers_are_counted() -> None:
    flood = [b"HTTP/1.1 100 Continue\r\n\r\n" * 100]
    with (
        raw_server(flood) as server,
        RemoteAccess().client() as client,
        pytest.raises(httpx.RemoteProtocolError, match="without end"),
    ):
        client.get(server.address)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_cancelling_closes_the_connections_of_a_client(method: str) -> None:
    cancelled = Cancellation()
    with raw_server([]) as server, RemoteAccess(cancelled=cancelled).client() as client:
        threading.Timer(0.3, cancelled.set).start()
        with pytest.raises(httpx.TransportError):
            client.request(method, server.address)
        with pytest.raises(httpx.TransportError):  # and none is opened any more
            client.request(method, server.address)


# --- room on the disk -----------------------------------------------------------------------


def test_a_word_takes_no_room(daemon: Daemon, record_property: Record) -> None:
    digest = Digest.of(b"never sent")
    size = 1 << 34
    Api(daemon).ask(
        "POST",
        f"/api/blobs/{digest}",
        b"5byte",
        headers={"Content-Range": f"bytes 0-{size - 1}/{size}", "Content-Length": "5"},
    )
    partial = daemon.home / "models" / "partial"
    taken = sum(path.stat().st_blocks * 512 for path in partial.glob("sha256*"))
    record_property("bound", "17 GB announced, 5 bytes sent: < 1 MiB on the disk")
    record_property("measured", f"{taken} bytes")
    assert taken < 1 << 20


def test_what_was_reserved_and_did_not_come_is_given_back(tmp_path: Path) -> None:
    data = os.urandom(1 << 20)
    partial = journal.claim(tmp_path, "sha256-x", GIB)
    assert partial is not None
    partial.lay_out()
    os.pwrite(partial.fd, data, 0)
    partial.save(Ranges([(0, len(data))]))
    partial.close()
    assert (tmp_path / "sha256-x").stat().st_blocks * 512 < 2 << 20
    again = journal.claim(tmp_path, "sha256-x", GIB)
    assert again is not None
    assert again.done.total_bytes == len(data)
    assert os.pread(again.fd, len(data), 0) == data
    again.remove()


def test_what_the_user_keeps_free_is_kept(tmp_path: Path) -> None:
    whole_disk_bytes = os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    blobs = BlobStore(tmp_path, kept_free_bytes=whole_disk_bytes)
    with (
        pytest.raises(DiskFull, match="OLM_MIN_FREE"),
        blobs.writer(expected=Digest.of(b"hello"), size_bytes=5) as writer,
    ):
        writer.write(b"hello")
    partial = journal.claim(tmp_path, "sha256-x", 5, kept_free_bytes=whole_disk_bytes)
    assert partial is not None
    with pytest.raises(DiskFull, match="OLM_MIN_FREE"):
        partial.lay_out()
    partial.remove()


# --- archives -------------------------------------------------------------------------------


def test_idle_loads_do_not_hold_the_api(daemon: Daemon) -> None:
    head = b"POST /api/load HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connected(daemon)).sendall(head)
        for _ in range(3):
            assert Api(daemon).get("/api/tags").status == 200
        busy = Api(daemon).post("/api/load", b"x")
        assert (busy.status, busy.json["code"]) == (503, "queue_full")
    wait_until(
        lambda: Api(daemon).post("/api/load", b"x").status != 503, what="the end of the idle ones"
    )


def _archive(names: int) -> bytes:
    """An archive of one small model under many names."""
    config, weights = b"{}", GgufFile().encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": str(Digest.of(config)),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.ollama.image.model",
                    "digest": str(Digest.of(weights)),
                    "size": len(weights),
                }
            ],
        }
    ).encode()
    entries = [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": str(Digest.of(manifest)),
            "size": len(manifest),
            "annotations": {"org.opencontainers.image.ref.name": f"m{number}:latest"},
        }
        for number in range(names)
    ]
    index = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index}
    for blob in (config, manifest, weights):
        files[f"blobs/sha256/{Digest.of(blob).hex}"] = blob
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return target.getvalue()


def test_an_archive_of_thousands_of_names_is_refused(daemon: Daemon) -> None:
    answer = Api(daemon).post("/api/load", _archive(10_000))
    assert "lists 10000 models" in answer.error
    assert Api(daemon).get("/api/tags").json["models"] == []


def test_an_archive_with_many_names_brings_them_all(daemon: Daemon) -> None:
    assert Api(daemon).post("/api/load", _archive(20)).lines[-1]["status"] == "success"
    assert len(Api(daemon).get("/api/tags").json["models"]) == 20


def test_an_archive_whose_client_goes_leaves_all_or_nothing(daemon: Daemon) -> None:
    data = _archive(200)
    with socket.create_connection(("127.0.0.1", daemon.port)) as client:
        client.sendall(
            b"POST /api/load HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data)
        )
        client.sendall(data)
    api = Api(daemon)
    wait_until(lambda: api.post("/api/load", b"x").status != 503, what="the end of the load")
    found: list[int] = []

    def is_settled() -> bool:
        found.append(len(api.get("/api/tags").json["models"]))
        return found[-1] in (0, 200) and found[-1:] * 3 == found[-3:]

    wait_until(is_settled, what="all or nothing")
