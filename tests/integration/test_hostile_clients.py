"""What one client does hurts nobody else: each attack with small numbers, on a real daemon.

Under every one of them the event loop never stands still for `LONGEST_PAUSE_S`, and others are
answered within `SLOWEST_S`.
"""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.api import Api
from support.attack import (
    connected,
    longest_pause_s,
    read_rest,
    send_until_refused,
    watched_daemon,
    witness,
)
from support.attacktable import Record
from support.daemon import Daemon, wait_until
from support.gguffile import UINT32, GgufFile, number, string

LONGEST_PAUSE_S = 0.1
SLOWEST_S = 10.0
"""A machine that is busy with other things makes everybody slower than the daemon does."""
MIB = 1 << 20


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("hostile") / "home"
    with watched_daemon(home, OLM_STALL_TIMEOUT="2s", OLM_MAX_CONNECTIONS="24") as running:
        running.request("POST", "/api/generate", {"model": "none", "prompt": "x" * 100_000})
        yield running


@pytest.fixture(autouse=True)
def nobody_else_is_hurt(daemon: Daemon, record_property: Record) -> Iterator[None]:
    longest_pause_s(daemon)
    process = psutil.Process(daemon.process.pid)
    before_bytes = process.memory_info().rss
    with witness(daemon) as seen:
        yield
    pause_s = longest_pause_s(daemon)
    grown_bytes = process.memory_info().rss - before_bytes
    record_property("bound", "loop < 100 ms, others < 10 s, memory < 150 MB")
    record_property(
        "measured",
        f"{1000 * pause_s:.0f} ms, {seen.slowest_s:.2f} s, {grown_bytes / MIB:.0f} MB",
    )
    assert seen.failures == []
    assert seen.slowest_s < SLOWEST_S
    assert pause_s < LONGEST_PAUSE_S
    assert grown_bytes < 150 * MIB


# --- bodies ---------------------------------------------------------------------------------

BODIES = {
    "text": b'{"model":"m","prompt":"' + b"a" * (12 * MIB) + b'"}',
    "surrogates": b'{"model":"m","prompt":"' + rb"\ud800" * (MIB // 2) + b'"}',
    "keys": b"{" + b",".join(b'"key%d":0' % n for n in range(400_000)) + b"}",
    "objects": b'{"model":"m","options":[' + b"{}," * MIB + b"{}]}",
    "numbers": b'{"model":"m","context":[' + b"0," * MIB + b"0]}",
    "depth": b'{"model":"m","format":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    "digits": b'{"model":"m","context":[' + b"9" * MIB + b"]}",
    "endless": b'{"model":"m","prompt":"' + b"a" * (40 * MIB),
}


@pytest.mark.parametrize("name", list(BODIES))
def test_a_body_that_costs_much_is_refused(daemon: Daemon, name: str) -> None:
    status, body = daemon.request("POST", "/api/generate", BODIES[name])
    assert status == 400
    assert json.loads(body)["code"] == "invalid_request"


def test_what_people_send_is_taken(daemon: Daemon) -> None:
    for members in (
        {"prompt": 'a "quoted" {text}, [with] \\ brackets: ' * 100_000},
        {"context": list(range(100_000)), "prompt": "x"},
        {"prompt": "x", "images": ["QUJD" * (3 * MIB)]},
    ):
        status, body = daemon.request("POST", "/api/generate", {"model": "none", **members})
        assert (status, json.loads(body)["code"]) == (404, "model_not_found")


# --- heads and connections ------------------------------------------------------------------


def test_a_head_has_an_end(daemon: Daemon) -> None:
    for block in (b"a: b\r\n" * 1000, b"a" * 6000):
        with connected(daemon) as connection:
            connection.sendall(b"GET /api/version HTTP/1.1\r\nx: ")
            sent_bytes = send_until_refused(connection, block, 64 * MIB)
        assert sent_bytes < 16 * MIB  # what the sockets' own buffers hold


def test_a_head_over_the_limit_is_told_so(daemon: Daemon) -> None:
    with connected(daemon) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 12_000)
        assert read_rest(connection).startswith((b"HTTP/1.1 431", b""))
    with connected(daemon) as connection:
        connection.sendall(b"GET /" + b"a" * 70_000)
        assert read_rest(connection).startswith(b"HTTP/1.1 431")


def test_few_requests_wait_on_one_connection(daemon: Daemon) -> None:
    with connected(daemon) as connection:
        send_until_refused(connection, b"GET /api/tags HTTP/1.1\r\n\r\n" * 1000, 8 * MIB)
        assert read_rest(connection).count(b"HTTP/1.1 200") <= 20


def test_a_few_pipelined_requests_are_answered(daemon: Daemon) -> None:
    with connected(daemon) as connection:
        connection.sendall(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5)
        time.sleep(0.2)
        connection.shutdown(socket.SHUT_WR)
        data = b""
        while data.count(b'"version"') < 5:
            data += connection.recv(65536)
    assert data.count(b"HTTP/1.1 200") == 5


@pytest.mark.parametrize(
    "start", [b"", b"GET / HTTP/1.1\r\n", b"POST /api/show HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"]
)
def test_a_client_that_drips_or_is_silent_is_gone_after_a_while(
    daemon: Daemon, start: bytes
) -> None:
    with connected(daemon) as connection:
        connection.sendall(start)
        connection.settimeout(20)
        read_rest(connection)  # returns because the daemon has ended it


def test_idle_connections_make_room_for_others(daemon: Daemon) -> None:
    idle = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(60)]
    try:
        assert daemon.request("GET", "/api/version")[0] == 200
        process = psutil.Process(daemon.process.pid)
        wait_until(lambda: len(process.net_connections("tcp")) <= 27, what="the cap")
    finally:
        for connection in idle:
            connection.close()


def test_what_is_refused_is_logged_once(daemon: Daemon) -> None:
    for _ in range(50):
        with connected(daemon) as connection:
            connection.sendall(b"no request at all\r\n\r\n")
            read_rest(connection)
    assert daemon.log.count("no HTTP/1.1 request") <= 2


# --- headers of models ----------------------------------------------------------------------


def test_a_model_of_two_billion_layers_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    file = GgufFile(
        metadata={
            "general.architecture": string("llama"),
            "llama.block_count": number(UINT32, 0x7FFFFFFF),
        }
    ).write(tmp_path / "many.gguf")
    api = Api(daemon)
    incoming = Path(api.get("/api/status").json["olm"]["incoming"])
    (incoming / "many").write_bytes(file.read_bytes())
    answer = api.post("/api/import", {"file": "many"})
    assert "llama.block_count is 2147483647, over 512" in answer.body.decode()
