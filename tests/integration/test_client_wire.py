"""The daemon's client against real sockets that say what a test orders."""

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trustme

from olmkit.engine.addresses.address import Address
from olmkit.engine.client import Client, http1
from olmkit.engine.client.http1 import ConnectionBroken, NoAnswer
from olmkit.engine.errors import (
    AddressInUse,
    ApiError,
    DaemonError,
    DaemonNotRunning,
    DaemonUntrusted,
)

OK = b"HTTP/1.1 200 OK\r\nServer: olm/0.1.0\r\n"
JSON = b"Content-Type: application/json\r\n"


class Scripted:
    """A server that answers each connection with the next of its scripts."""

    def __init__(self, listener: socket.socket, scripts: list[bytes | list[bytes]]) -> None:
        self.listener = listener
        self.scripts = scripts
        self.requests: list[bytes] = []
        self.saw_close = threading.Event()
        self.hold = threading.Event()
        """Set when the last connection may be closed."""
        self.wrap: Callable[[socket.socket], socket.socket] = lambda plain: plain
        self.thread = threading.Thread(target=self._serve)

    @property
    def address(self) -> Address:
        return Address(host="127.0.0.1", port=self.listener.getsockname()[1])

    def _serve(self) -> None:
        for script in self.scripts:
            try:
                accepted, _ = self.listener.accept()
            except OSError:
                return
            with closing(self.wrap(accepted)) as connection:
                self._answer(connection, script)

    def _answer(self, connection: socket.socket, script: bytes | list[bytes]) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = connection.recv(65536)
            if not piece or piece[0] == 0x16:  # nobody there, or a TLS greeting
                return
            request += piece
        self.requests.append(request)
        try:
            for piece in [script] if isinstance(script, bytes) else script:
                if piece == b"<wait for close>":
                    assert connection.recv(1) == b""
                    self.saw_close.set()
                elif piece == b"<hold>":
                    self.hold.wait(10)
                else:
                    connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            self.saw_close.set()


@contextmanager
def scripted(*scripts: bytes | list[bytes]) -> Iterator[Scripted]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Scripted(listener, list(scripts))
        server.thread.start()
        try:
            yield server
        finally:
            server.hold.set()
            # A server that was never asked still waits.
            listener.shutdown(socket.SHUT_RDWR)
            server.thread.join()


def body(text: bytes) -> bytes:
    return OK + JSON + b"Content-Length: %d\r\n\r\n%s" % (len(text), text)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + framed + end


def test_a_reply_of_known_length_is_read_whole() -> None:
    with scripted(body(b'{"version":"1.2.3"}')) as server:
        assert Client(server.address).version() == "1.2.3"
    assert server.requests[0].startswith(b"GET /api/version HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"User-Agent: olm/" in server.requests[0]


def test_lines_are_put_together_across_chunks() -> None:
    reply = chunked(b'{"status":"a"}\n{"sta', b'tus":"b"}\n', b'\n{"status":"success"}')
    with scripted(reply) as server:
        events = list(Client(server.address).pull("m"))
    assert [event.status for event in events] == ["a", "b", "success"]


def test_a_reply_that_comes_byte_by_byte_is_the_same() -> None:
    reply = chunked(b'{"status":"success"}\n')
    with scripted([reply[i : i + 1] for i in range(len(reply))]) as server:
        assert [event.status for event in Client(server.address).pull("m")] == ["success"]


def test_an_error_in_the_midst_of_a_stream_is_raised_with_its_own_status() -> None:
    reply = chunked(b'{"status":"a"}\n{"error":"no such model","http_status":404,"hint":"look"}\n')
    with scripted(reply) as server:
        events = Client(server.address).pull("m")
        assert next(events).status == "a"
        with pytest.raises(ApiError, match="no such model") as caught:
            next(events)
    assert (caught.value.status, caught.value.hint) == (404, "look")


def test_a_refused_request_carries_status_code_and_text() -> None:
    text = b'{"error":"model \'m\' not found","code":"model_not_found"}'
    reply = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
    with scripted(reply) as server, pytest.raises(ApiError, match="model 'm' not found") as caught:
        Client(server.address).show("m")
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


@pytest.mark.parametrize(
    "reply",
    [
        OK + b"Content-Length: 100\r\n\r\n{}",
        chunked(b'{"status":"a"}\n', end=b""),
        chunked(b'{"status":"a"}\n', end=b"fff\r\n{"),
        chunked(b'{"status":"a"}\n', end=b"no number\r\n"),
        b"",
    ],
)
def test_a_reply_that_ends_early_is_an_error(reply: bytes) -> None:
    with scripted(reply) as server, pytest.raises(ConnectionBroken):
        list(Client(server.address).pull("m"))


def test_a_stream_without_its_last_object_is_an_error() -> None:
    with (
        scripted(chunked(b'{"status":"a"}\n'), chunked(b'{"response":"x"}\n')) as server,
        pytest.raises(DaemonError, match="before it was complete"),
    ):
        list(Client(server.address).pull("m"))


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (chunked(b"x" * 8_000_001), "line of more than"),
        (OK + b"\r\n[1]", "no JSON object"),
        (OK + b"\r\n{", "no JSON"),
    ],
)
def test_nonsense_from_the_daemon_is_an_error(reply: bytes, words: str) -> None:
    with scripted(reply) as server, pytest.raises(DaemonError, match=words):
        list(Client(server.address).pull("m"))


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>",
    ],
    ids=["another protocol", "endless header", "another server", "another server's page"],
)
def test_another_program_at_the_address_is_named(reply: bytes) -> None:
    with scripted(reply) as server, pytest.raises(AddressInUse) as caught:
        Client(server.address).models()
    assert f"(pid {os.getpid()})" in str(caught.value)
    assert caught.value.hint


def test_a_silent_program_does_not_hold_a_command_for_ever() -> None:
    with scripted([b"<hold>"]) as server:
        connection = http1.connect(server.address)
        with pytest.raises(NoAnswer, match=r"within 0\.1 s"):
            http1.send(connection, "GET", "/", headers={}, timeout_s=0.1)


def test_closing_a_stream_early_closes_the_connection() -> None:
    first = chunked(b'{"response":"x","done":false}\n', end=b"")
    with scripted([first, b"<wait for close>"]) as server:
        answer = Client(server.address).generate({"model": "m"})
        assert next(answer).text == "x"
        answer.close()
        assert server.saw_close.wait(5)


def test_a_body_of_null_length_is_told_so() -> None:
    with scripted(body(b"{}")) as server:
        Client(server.address).copy("a", "b")
    head, _, sent = server.requests[0].partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(sent) in head
    assert sent == b'{"source": "a", "destination": "b"}'


def test_nothing_listening_is_told_with_advice() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DaemonNotRunning, match="connection refused") as caught:
        Client(Address(port=port)).models()
    assert caught.value.hint == "start it with `olm serve`"


def test_a_refused_connection_starts_the_daemon_once_and_goes_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    started = []

    with scripted(body(b'{"models":[]}')) as server:

        def start() -> None:
            started.append(client)
            client.address = server.address

        client = Client(Address(port=port), starter=start)
        assert client.models() == []
    assert len(started) == 1


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "ä..ö", "x" * 300])
def test_a_host_that_is_none_is_told(host: str) -> None:
    with pytest.raises(DaemonNotRunning, match="cannot connect to the daemon at http://"):
        Client(Address(host=host, port=1)).models()


def test_a_server_that_speaks_no_tls_is_told() -> None:
    with scripted(b"") as server, pytest.raises(DaemonUntrusted):
        there = Address(scheme="https", host="127.0.0.1", port=server.address.port)
        Client(there).version()


def test_a_unix_socket_is_an_address(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        server = Scripted(listener, [body(b'{"version":"1"}')])
        server.thread.start()
        assert Client(Address(scheme="unix", path=path)).version() == "1"
        server.thread.join()
    assert b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n" in server.requests[0]


def test_tls_is_spoken_and_the_certificate_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    address = Address(scheme="https", host="localhost", port=0, path="/prefix")

    def wrap(plain: socket.socket) -> socket.socket:
        return context.wrap_socket(plain, server_side=True)

    with scripted(body(b'{"version":"1"}')) as server:
        server.wrap = wrap
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        there = Address(
            scheme="https", host="localhost", port=server.address.port, path=address.path
        )
        assert Client(there).version() == "1"
    assert server.requests[0].startswith(b"GET /prefix/api/version ")


def test_a_proxy_gets_the_whole_address_and_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(body(b'{"version":"1"}')) as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:s%40cret@127.0.0.1:{proxy.address.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert Client(Address(host="models.example", port=11434)).version() == "1"
    request = proxy.requests[0]
    assert request.startswith(b"GET http://models.example:11434/api/version HTTP/1.1\r\n")
    assert b"Host: models.example:11434\r\n" in request
    assert b"Proxy-Authorization: Basic bWU6c0BjcmV0\r\n" in request


def test_a_daemon_of_this_machine_is_never_reached_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with scripted(body(b'{"version":"1"}')) as server:
        assert Client(server.address).version() == "1"


def test_uploads_are_sent_in_pieces_and_their_length_said() -> None:
    reply = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
    with scripted(reply) as server:
        Client(server.address).upload_blob("sha256:0", iter([b"ab", b"c"]), 3)
    assert server.requests[0].startswith(b"POST /api/blobs/sha256:0 HTTP/1.1\r\n")
    assert b"Content-Length: 3\r\n" in server.requests[0]


def test_a_daemon_that_refuses_an_upload_early_is_heard() -> None:
    text = b'{"error":"disk full","code":"disk_full"}'
    reply = b"HTTP/1.1 507 Insufficient Storage\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)

    def pieces() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 1_000_000

    with scripted(reply) as server, pytest.raises(DaemonError):
        Client(server.address).upload_blob("sha256:0", pieces(), 200_000_000)
