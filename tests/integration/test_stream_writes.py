"""What leaves together and in which order, on the wire of a real daemon.

Segments are counted by the client's kernel. Source: linux/tcp.h, `tcp_info.tcpi_data_segs_in`.
"""

import http.client
import json
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from support import models
from support.api import Api
from support.daemon import running_daemon, wait_until
from support.metrics import scrape, value

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="segments are counted by Linux")

_DATA_SEGMENTS_IN = 152
"""Offset in `tcp_info`."""
TOKENS = 24
BODY = {
    "model": "smol",
    "prompt": "Once upon a time",
    "options": {"num_predict": TOKENS, "temperature": 0, "ignore_eos": True},
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_daemon(tmp_path_factory.mktemp("writes") / "home") as daemon:
        client = Api(daemon)
        client.create("smol", models.smollm2())
        yield client


@contextmanager
def asked(api: Api, path: str, body: object = None) -> Iterator[http.client.HTTPConnection]:
    """A connection on which a request was sent."""
    connection = http.client.HTTPConnection("127.0.0.1", api.daemon.port, timeout=60)
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request("GET" if body is None else "POST", path, data)
        yield connection
    finally:
        connection.close()


def segments(connection: http.client.HTTPConnection) -> int:
    """How many pieces of data came in."""
    info = connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _DATA_SEGMENTS_IN + 4)
    return int(struct.unpack_from("I", info, _DATA_SEGMENTS_IN)[0])


@contextmanager
def stopped_daemon(api: Api) -> Iterator[None]:
    """Stops the daemon until its runner has written a whole answer, which nobody reads."""
    (runner,) = api.daemon.runners()
    api.daemon.process.send_signal(signal.SIGSTOP)
    try:
        yield
        looks: list[float] = []

        def is_idle() -> bool:
            times = runner.cpu_times()
            looks.append(times.user + times.system)
            is_asleep = runner.status() == psutil.STATUS_SLEEPING
            return is_asleep and len(looks) > 20 and looks[-1] == looks[-20]

        wait_until(is_idle, what="the end of the runner's work")
    finally:
        api.daemon.process.send_signal(signal.SIGCONT)


def test_a_short_reply_leaves_with_its_head(api: Api) -> None:
    with asked(api, "/api/version") as connection, connection.getresponse() as response:
        assert response.status == 200
        count = segments(connection)
        assert json.loads(response.read())["version"]
    assert count == 1


def test_tokens_that_were_ready_together_leave_together_and_in_order(api: Api) -> None:
    with asked(api, "/api/generate", BODY) as connection:
        response = connection.getresponse()
        lines = [response.readline()]
        with stopped_daemon(api):
            pass
        lines += response.read().splitlines()
        count = segments(connection)
    *pieces, end = [json.loads(line) for line in lines]
    assert all(not piece["done"] and piece["response"] for piece in pieces)
    assert end["done"]
    assert end["eval_count"] == TOKENS
    assert len(end["context"]) == end["prompt_eval_count"] + TOKENS
    answer = end["context"][-TOKENS:]
    told = api.post("/api/detokenize", {"model": "smol", "tokens": answer}).json
    assert "".join(piece["response"] for piece in pieces) == told["text"]
    assert len(pieces) > TOKENS // 2
    assert count < len(pieces)


def test_a_client_that_leaves_amid_tokens_that_were_ready_ends_its_request(api: Api) -> None:
    endless = {**BODY, "options": {**BODY["options"], "num_predict": -1}}  # type: ignore[dict-item]
    with asked(api, "/api/generate", endless) as connection:
        connection.getresponse().readline()
        api.daemon.process.send_signal(signal.SIGSTOP)
        try:
            connection.sock.close()
        finally:
            api.daemon.process.send_signal(signal.SIGCONT)

    def is_over() -> bool:
        samples = scrape(api)
        return value(samples, "olm_completions_total", model="smol:latest", end="cancelled") == 1

    wait_until(is_over, what="the end of the request whose client is gone")
    assert api.post("/api/generate", {**BODY, "stream": False}).json["eval_count"] == TOKENS
