"""GET over sockets: every way an HTTP/1.x server may end, break or prolong an answer."""

import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from olmkit.registry.http import wire
from support.rawserver import CLOSE, Step, raw_server

LENGTH_5 = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    context = ssl.create_default_context()
    with httpx.Client(
        transport=wire.Transport(context, httpx.Limits()), trust_env=False, timeout=30
    ) as found:
        yield found


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_connection_is_used_again(client: httpx.Client) -> None:
    with raw_server([LENGTH_5, b"first"], [SECOND]) as server:
        assert client.get(server.address).content == b"first"
        assert client.get(server.address).content == b"second"
        assert server.connections == 1


@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_answers_that_are_not_the_last_are_passed_over(client: httpx.Client, status: bytes) -> None:
    early = b"HTTP/1.1 " + status + b"\r\nLink: </x>\r\n\r\n"
    with raw_server([early, 0.1, early, LENGTH_5, b"first"], [SECOND]) as server:
        assert client.get(server.address).content == b"first"
        assert client.get(server.address).content == b"second"
        assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        [b"HTTP/1.0 200 OK\r\n\r\nfirst", CLOSE],
        [b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nfirst", CLOSE],
        [b"HTTP/1.1 200 OK\r\n\r\nfi", 0.05, b"rst", CLOSE],
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nfirst"],
        [CHUNKED + b"2\r\nfi\r\n", 0.05, b"3;x=y\r\nrst\r\n0\r\nTrailer: 1\r\n\r\n"],
    ],
    ids=["1.0", "1.0-length", "until-close", "close", "chunked"],
)
def test_a_body_is_whole_however_its_end_is_told(client: httpx.Client, answer: list[Step]) -> None:
    before = open_files()
    with raw_server(answer, [SECOND]) as server:
        assert client.get(server.address).content == b"first"
        assert client.get(server.address).content == b"second"
    client.close()
    assert open_files() == before


@pytest.mark.parametrize(
    "answer",
    [
        [CLOSE],
        [b"SSH-2.0\r\n", CLOSE],
        [LENGTH_5, b"fir", CLOSE],
        [CHUNKED + b"5\r\nfir", CLOSE],
        [CHUNKED + b"zz\r\n", CLOSE],
        [CHUNKED + b"3\r\nfir\r\n", CLOSE],
        [b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n"],
        [b"HTTP/1.1 200 OK\r\nX: " + b"1" * 100_000 + b"\r\n\r\n"],
        [b"HTTP/1.1 103 Early Hints\r\n\r\n", CLOSE],
    ],
)
def test_a_broken_answer_is_an_error_and_leaves_no_descriptor(
    client: httpx.Client, answer: list[Step]
) -> None:
    before = open_files()
    with raw_server(answer) as server, pytest.raises(httpx.TransportError):
        client.get(server.address)
    client.close()
    assert open_files() == before


def test_a_body_that_is_left_half_read_costs_its_connection(client: httpx.Client) -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + bytes(99_999)
    with raw_server([long], [SECOND]) as server:
        with client.stream("GET", server.address) as response:
            assert len(next(response.iter_raw())) < 99_999
        assert client.get(server.address).content == b"second"
        assert server.connections == 2


def test_more_bytes_than_announced_are_no_next_answer(client: httpx.Client) -> None:
    with raw_server([LENGTH_5, b"first", 0.1, b"HTTP/1.1 418 No\r\n\r\n"], [SECOND]) as server:
        assert client.get(server.address).content == b"first"
        time.sleep(0.2)
        assert client.get(server.address).content == b"second"


def test_a_connection_that_the_server_ended_meanwhile_is_replaced(client: httpx.Client) -> None:
    with raw_server([LENGTH_5, b"first"], [CLOSE], [SECOND]) as server:
        assert client.get(server.address).content == b"first"
        assert client.get(server.address).content == b"second"
        assert server.connections == 2


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/", "http://a..b/", f"http://{'a' * 64}.b/"])
def test_an_address_that_is_none_is_an_error_of_httpx(client: httpx.Client, address: str) -> None:
    with pytest.raises(httpx.TransportError):
        client.get(address)
    redirect = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + address.encode()
    with raw_server([redirect + b"\r\n\r\n"]) as server, pytest.raises(httpx.TransportError):
        client.get(server.address, follow_redirects=True)


def test_silence_is_a_time_out(client: httpx.Client) -> None:
    client.timeout = httpx.Timeout(30, read=0.2)
    with raw_server([1.0], [LENGTH_5, b"fi", 1.0]) as server:
        for _ in range(2):
            with pytest.raises(httpx.ReadTimeout):
                client.get(server.address)


def test_an_ipv6_address_is_reached(client: httpx.Client) -> None:
    with raw_server([LENGTH_5, b"first"], host="::1") as server:
        assert client.get(server.address).content == b"first"
        assert f"Host: {httpx.URL(server.address).netloc.decode()}".encode() in server.requests[0]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def secured(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> httpx.Client:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return httpx.Client(transport=wire.Transport(context, httpx.Limits()), timeout=30)


def test_tls_of_a_private_authority_works_and_of_another_does_not(
    authority: trustme.CA, client: httpx.Client
) -> None:
    before = open_files()
    with raw_server([LENGTH_5, b"first"], [SECOND], tls=secured(authority)) as server:
        with trusting(authority) as trusted:
            assert trusted.get(server.address).content == b"first"
            assert trusted.get(server.address).content == b"second"
        assert server.connections == 1
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            client.get(server.address)
    assert open_files() == before


def test_a_reader_over_tls_times_out(authority: trustme.CA) -> None:
    with (
        raw_server([LENGTH_5, b"fi", 1.0], tls=secured(authority)) as server,
        trusting(authority) as trusted,
        pytest.raises(httpx.ReadTimeout),
    ):
        trusted.get(server.address, timeout=httpx.Timeout(30, read=0.2))


@pytest.mark.parametrize("is_secure", [False, True])
def test_a_reader_can_be_stopped_by_another_thread(authority: trustme.CA, is_secure: bool) -> None:
    tls = secured(authority) if is_secure else None
    with (
        raw_server([LENGTH_5, b"fi", 3600.0], tls=tls) as server,
        trusting(authority) as trusted,
        trusted.stream("GET", server.address, timeout=None) as response,
    ):
        threading.Timer(0.2, wire.abort, args=(response,)).start()
        with pytest.raises(httpx.TransportError):
            response.read()


def test_a_stop_that_comes_late_spares_who_has_the_connection_now(client: httpx.Client) -> None:
    with raw_server([LENGTH_5, b"first"], [LENGTH_5, b"sec", 0.3, b"nd"]) as server:
        with client.stream("GET", server.address) as first:
            assert first.read() == b"first"
        with client.stream("GET", server.address) as second:
            wire.abort(first)
            assert second.read() == b"secnd"
        assert server.connections == 1


PART = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/99\r\nContent-Length: 5\r\n\r\n"


def read_now(body: wire.Body) -> bytes:
    """All that comes until the end of a body that does not wait."""
    found = b""
    while not body.is_read:
        view = memoryview(bytearray(1 << 16))
        found += view[: body.readinto(view) or 0]
    return found


def answer_to(body: wire.Body) -> httpx.Response:
    while (answer := body.answer()) is None:
        time.sleep(0.01)
    return answer


@contextmanager
def read_once(client: httpx.Client, address: str) -> Iterator[wire.Body]:
    """A body that was read without waiting."""
    with client.stream("GET", address, headers={"Range": "bytes=0-4", "X-Kept": "1"}) as response:
        body = wire.body_of(response)
        assert isinstance(body, wire.Body)
        assert body.unblock() is not None
        assert read_now(body) == b"first"
        yield body


@pytest.mark.parametrize("is_secure", [False, True])
def test_a_connection_is_asked_again_without_waiting(
    authority: trustme.CA, is_secure: bool
) -> None:
    tls = secured(authority) if is_secure else None
    part: list[Step] = [PART[:20], 0.1, PART[20:] + b"se", 0.1, b"con"]
    with (
        raw_server([LENGTH_5, b"first"], part, [SECOND], tls=tls) as server,
        trusting(authority) as client,
    ):
        with read_once(client, server.address) as body:
            assert body.ask_again({"Range": "bytes=5-9"})
            assert body.answer() is None
            answer = answer_to(body)
            assert (answer.status_code, answer.headers["content-range"]) == (206, "bytes 5-9/99")
            assert read_now(body) == b"secon"
        assert client.get(server.address).content == b"second"
        assert server.connections == 1
    first, second, _ = (request.lower().split(b"\r\n") for request in server.requests)
    assert b"range: bytes=5-9" in second
    assert sorted(second) == sorted(
        b"range: bytes=5-9" if line.startswith(b"range:") else line for line in first
    )


@pytest.mark.parametrize("is_secure", [False, True])
def test_what_comes_with_a_head_is_not_lost(authority: trustme.CA, is_secure: bool) -> None:
    tls = secured(authority) if is_secure else None
    content = os.urandom(100_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    part = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 100000\r\nX-Name: mod\xe8le\r\n\r\n"
    first: list[Step] = [head + content[:5000], 0.2, content[5000:]]
    second: list[Step] = [part + content[:5000], 0.2, content[5000:]]
    with (
        raw_server(first, second, tls=tls) as server,
        trusting(authority) as client,
        client.stream("GET", server.address) as response,
    ):
        body = wire.body_of(response)
        assert isinstance(body, wire.Body)
        body.unblock()
        assert read_now(body) == content
        assert body.ask_again({"Range": "bytes=0-99999"})
        assert answer_to(body).headers["x-name"] == "modèle"
        assert read_now(body) == content


@pytest.mark.parametrize(
    "second",
    [
        [CLOSE],
        [LENGTH_5, b"other"],
        [b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"],
        [b"HTTP/1.1 103 Early Hints\r\n\r\n", PART, b"parts"],
        [PART.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked"), b"0\r\n\r\n"],
        [PART.replace(b"Content-Length: 5", b"Content-Length: -5")],
        [PART.replace(b"Content-Length: 5\r\n", b"")],
        [PART.replace(b"Content-Length: 5", b"Content-Length: " + b"5" * 5000)],
        [b"HTTP/1.1 206 Partial Content\r\nX: " + b"1" * 100_000],
        [b"HTTP/1.1 206 Partial Content\r\nContent-Len", CLOSE],
    ],
)
def test_what_is_no_part_is_to_be_asked_for_anew(client: httpx.Client, second: list[Step]) -> None:
    before = open_files()
    with raw_server([LENGTH_5, b"first"], second, [SECOND]) as server:
        with read_once(client, server.address) as body:
            assert body.ask_again({"Range": "bytes=5-9"})
            with pytest.raises(httpx.TransportError):
                answer_to(body)
        assert client.get(server.address).content == b"second"
        assert server.connections == 2
    client.close()
    assert open_files() == before


@pytest.mark.parametrize(
    "first",
    [
        [LENGTH_5, b"first" + PART],
        [LENGTH_5, b"first", CLOSE],
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nfirst"],
    ],
    ids=["more", "ended", "close"],
)
def test_a_connection_that_is_over_or_has_more_to_say_is_not_asked_again(
    client: httpx.Client, first: list[Step]
) -> None:
    with raw_server(first, [PART, b"parts"]) as server:
        with read_once(client, server.address) as body:
            time.sleep(0.2)
            assert not body.ask_again({"Range": "bytes=5-9"})
        assert client.get(server.address).content == b"parts"
        assert server.connections == 2


def test_a_body_that_is_not_read_is_not_asked_again(client: httpx.Client) -> None:
    with (
        raw_server([LENGTH_5, b"fir"]) as server,
        client.stream("GET", server.address) as response,
    ):
        body = wire.body_of(response)
        assert body.unblock() is not None
        assert not body.ask_again({"Range": "bytes=5-9"})


def test_a_body_in_chunks_is_waited_for(client: httpx.Client) -> None:
    with (
        raw_server([CHUNKED + b"2\r\nfi\r\n", 0.2, b"3\r\nrst\r\n0\r\n\r\n"]) as server,
        client.stream("GET", server.address) as response,
    ):
        body = wire.body_of(response)
        assert body.unblock() is None
        view = memoryview(bytearray(10))
        assert [body.readinto(view) for _ in range(3)] == [2, 3, 0]


def test_a_host_that_takes_no_connection_is_an_error(client: httpx.Client, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(httpx.ConnectError):
        client.get(f"http://127.0.0.1:{port}/")


def test_a_connection_that_comes_back_late_is_closed(client: httpx.Client) -> None:
    before = open_files()
    with (
        raw_server([LENGTH_5, b"first"]) as server,
        client.stream("GET", server.address) as response,
    ):
        client.close()
        assert response.read() == b"first"
    assert open_files() == before
