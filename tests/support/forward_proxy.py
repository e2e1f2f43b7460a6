"""A forward proxy as companies have them: tunnels by CONNECT, and plain requests passed on.

    with forward_proxy(names={"registry.test"}, login="bob:pass") as proxy:
        proxy.address    # http://bob:pass@127.0.0.1:PORT
        proxy.seen       # what was asked of it: request lines with their headers

Every one of `names` is this machine to it, so that hosts that no resolver knows can be reached only
through it. Source: RFC 9110, sections 7.6.1 and 9.3.6.
"""

import base64
import contextlib
import http.client
import selectors
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from support.httpservers import answering

READ_TIMEOUT_S = 20.0
_NOT_PASSED_ON = {"connection", "proxy-connection", "keep-alive", "proxy-authorization"}


@dataclass(frozen=True)
class Asked:
    """One request to the proxy; header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]


class ForwardProxy(ThreadingHTTPServer):
    """Answers until it is shut down."""

    daemon_threads = True

    def __init__(self, names: set[str], login: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.names = names
        self.login = login
        self.seen: list[Asked] = []

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def address(self) -> str:
        return f"http://{self.login + '@' if self.login else ''}{self.host}"

    def targets(self, method: str) -> set[str]:
        """What the requests of a method were for."""
        return {asked.target for asked in self.seen if asked.method == method}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ForwardProxy

    def log_message(self, *_: object) -> None:
        pass

    def _is_let_in(self) -> bool:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append(Asked(self.command, self.path, headers))
        login = self.server.login
        if login is None:
            return True
        wanted = "Basic " + base64.b64encode(login.encode()).decode()
        if headers.get("proxy-authorization") == wanted:
            return True
        self._refuse(407, "Proxy Authentication Required")
        return False

    def _refuse(self, status: int, words: str) -> None:
        self.close_connection = True
        self.send_response(status, words)
        if status == 407:
            self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _local(self, host: str | None) -> str | None:
        return "127.0.0.1" if host in self.server.names else None

    def do_CONNECT(self) -> None:
        if not self._is_let_in():
            return
        host, _, port = self.path.rpartition(":")
        local = self._local(host)
        if local is None:
            self._refuse(502, "Unknown Host")
            return
        self.close_connection = True
        try:
            with socket.create_connection((local, int(port)), READ_TIMEOUT_S) as other:
                self.send_response(200, "Connection Established")
                self.end_headers()
                _join(self.connection, other)
        except OSError:
            return

    def _pass_on(self) -> None:
        if not self._is_let_in():
            return
        address = urlsplit(self.path)
        local = self._local(address.hostname)
        if local is None:
            self._refuse(502, "Unknown Host")
            return
        length = int(self.headers.get("Content-Length", 0))
        headers = {n: v for n, v in self.headers.items() if n.lower() not in _NOT_PASSED_ON}
        further = http.client.HTTPConnection(local, address.port or 80, timeout=READ_TIMEOUT_S)
        with contextlib.closing(further):
            path = address.path + (f"?{address.query}" if address.query else "")
            further.request(self.command, path, self.rfile.read(length), headers)
            answer = further.getresponse()
            body = answer.read()
            self.send_response(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _pass_on


def _join(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes on in both directions until either side ends."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while events := selector.select(READ_TIMEOUT_S):
            for key, _ in events:
                source = key.fileobj
                assert isinstance(source, socket.socket)
                data = source.recv(65536)
                if not data:
                    return
                key.data.sendall(data)


@contextmanager
def forward_proxy(*, names: set[str], login: str | None = None) -> Iterator[ForwardProxy]:
    """The proxy, answering while the block runs."""
    with ForwardProxy(names, login) as proxy, answering(proxy):
        yield proxy
