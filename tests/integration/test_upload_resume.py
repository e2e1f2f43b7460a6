"""Uploads of blobs that break off and go on."""

import hashlib
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.api import Api
from support.daemon import Daemon, running_daemon, start_daemon, wait_until
from support.gguffile import GgufFile, Row
from support.olm import olm

DATA = os.urandom(40 << 20)
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()
PATH = f"/api/blobs/{DIGEST}"
MIB = 1 << 20


@pytest.fixture
def daemon(olm_home: Path) -> Iterator[Daemon]:
    with running_daemon(olm_home) as running:
        yield running


def offset(daemon: Daemon) -> int:
    """What HEAD says is there."""
    answer = Api(daemon).ask("HEAD", PATH)
    assert answer.status == 404
    return int(answer.headers["olm-upload-offset"])


def send_part(daemon: Daemon, start: int, end: int, data: bytes = DATA) -> None:
    """Begin an upload of all bytes from `start` on, and go away at `end`."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data) - start}\r\n"
        f"Content-Range: bytes {start}-{len(data) - 1}/{len(data)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", daemon.port)) as connection:
        connection.sendall(head.encode() + data[start:end])


def send_rest(daemon: Daemon, start: int, data: bytes = DATA) -> tuple[int, bytes]:
    headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
    answer = Api(daemon).post(PATH, data[start:], headers=headers)
    return answer.status, answer.body


def kept(daemon: Daemon) -> list[str]:
    """Files of unfinished uploads."""
    folder = daemon.home / "models" / "partial"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def stored(daemon: Daemon) -> bytes:
    return (daemon.home / "models" / "blobs" / DIGEST.replace(":", "-")).read_bytes()


def test_an_upload_goes_on_where_it_broke_off(daemon: Daemon) -> None:
    assert offset(daemon) == 0
    send_part(daemon, 0, 10 * MIB)
    wait_until(lambda: offset(daemon) > 9 * MIB)
    send_part(daemon, offset(daemon), 30 * MIB)
    wait_until(lambda: offset(daemon) > 29 * MIB)
    assert send_rest(daemon, offset(daemon)) == (201, b"")
    assert Api(daemon).ask("HEAD", PATH).status == 200
    assert stored(daemon) == DATA
    assert kept(daemon) == []


def test_what_came_outlives_a_killed_daemon(olm_home: Path) -> None:
    daemon = start_daemon(olm_home)
    try:
        daemon.wait_until_ready()
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(DATA)}\r\n"
            f"Content-Range: bytes 0-{len(DATA) - 1}/{len(DATA)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", daemon.port)) as connection:
            connection.sendall(head.encode() + DATA[: 34 * MIB])
            wait_until(lambda: offset(daemon) >= 32 * MIB)
            daemon.kill()
    finally:
        daemon.process.kill()
        daemon.process.wait()
    with running_daemon(olm_home) as again:
        start = offset(again)
        assert 32 * MIB <= start <= 34 * MIB
        assert send_rest(again, start)[0] == 201
        assert stored(again) == DATA


def test_wrong_bytes_are_refused_and_not_kept(daemon: Daemon) -> None:
    send_part(daemon, 0, 8 * MIB, data=bytes(len(DATA)))
    wait_until(lambda: offset(daemon) > 7 * MIB)
    status, body = send_rest(daemon, offset(daemon))
    assert (status, b"digest mismatch" in body) == (400, True)
    assert (offset(daemon), kept(daemon)) == (0, [])
    assert send_rest(daemon, 0)[0] == 201
    assert stored(daemon) == DATA


def test_an_upload_cannot_begin_behind_what_is_there(daemon: Daemon) -> None:
    answer = Api(daemon).post(
        PATH, DATA[5:], headers={"Content-Range": f"bytes 5-{len(DATA) - 1}/{len(DATA)}"}
    )
    assert (answer.status, answer.headers["olm-upload-offset"]) == (416, "0")
    assert kept(daemon) == []


@pytest.mark.parametrize(
    "value", ["bytes 0-1/5", "bytes */5", "bytes 5-4/5", "0-4/5", "bytes 0-99999999999999999999/5"]
)
def test_a_content_range_that_is_not_the_rest_is_refused(daemon: Daemon, value: str) -> None:
    answer = Api(daemon).post(PATH, b"12345", headers={"Content-Range": value})
    assert answer.status == 400
    assert "Content-Range" in answer.error


def test_an_upload_without_a_range_that_breaks_off_leaves_nothing(daemon: Daemon) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(DATA)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", daemon.port)) as connection:
        connection.sendall(head.encode() + DATA[: 4 * MIB])
        wait_until(lambda: any((daemon.home / "models" / "staging").glob("*/blob")))
    wait_until(lambda: not any((daemon.home / "models" / "staging").glob("*/blob")))
    assert (offset(daemon), kept(daemon)) == (0, [])


@contextmanager
def cutting(port: int, cuts: list[int]) -> Iterator[tuple[int, list[int]]]:
    """A way to a port that cuts long requests after so many bytes, one after the other.

    Gives its own port, and the list of how many bytes each long request sent.
    """
    sent: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            back = threading.Thread(target=pass_back, args=(server, client))
            back.start()
            count, limit = 0, 1 << 60
            while data := client.recv(65536):
                if data.startswith(b"POST /api/blobs/") and cuts:
                    limit = cuts.pop(0)
                server.sendall(data)
                count += len(data)
                if count > limit:
                    server.shutdown(socket.SHUT_RDWR)
                    client.shutdown(socket.SHUT_RDWR)
                    break
            if count > MIB:
                sent.append(count)
            back.join()

    def pass_back(server: socket.socket, client: socket.socket) -> None:
        try:
            while data := server.recv(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=run, args=(client,))
            threads.append(thread)
            thread.start()

    def run(client: socket.socket) -> None:
        try:
            serve(client)
        except OSError:
            pass

    threads: list[threading.Thread] = []
    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1], sent
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread in threads:
            thread.join(10)


def test_create_goes_on_by_itself_over_a_connection_that_breaks(daemon: Daemon) -> None:
    file = GgufFile(tensors=(Row(name="w", shape=(10 << 20,)),), data=DATA)
    # Another file system, so that the file cannot be linked and must be sent.
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        size = len(file.write(folder / "m.gguf").read_bytes())
        (folder / "Modelfile").write_text("FROM ./m.gguf\n")
        with cutting(daemon.port, [6 * MIB, 12 * MIB]) as (port, sent):
            environ = daemon.environ | {"OLM_HOST": f"127.0.0.1:{port}"}
            # The file is no model that could be loaded: only its way to the daemon is tried.
            done = olm(environ, "create", "m", "--no-try-load", cwd=folder)
            assert done.returncode == 0, done.stderr
        assert len(sent) == 3
        assert sum(sent) < size + 4 * MIB
    finally:
        shutil.rmtree(folder)
    assert "m:latest" in Api(daemon).get("/api/tags").body.decode()
    assert kept(daemon) == []
