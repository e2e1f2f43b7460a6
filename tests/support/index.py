"""A package index over HTTP, of a folder of wheels."""

import base64
import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from olmkit.registry.oci.reference import normalized_package
from support.httpservers import answering


@dataclass
class PackageIndex:
    """The simple index of PEP 503, with some faults to order."""

    folder: Path
    login: str | None = None
    """`user:password` that every request must carry."""
    status: int = 200
    """Answered to everything when not 200."""
    pause_s: float = 0.0
    """Between pieces of 64 KiB of a wheel."""
    sent_bytes: int = 0
    """Of wheels, so far."""
    port: int = 0
    requests: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """For `PIP_INDEX_URL`."""
        return f"http://127.0.0.1:{self.port}/simple/"


@contextmanager
def serving(index: PackageIndex) -> Iterator[PackageIndex]:
    """The index, answering while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(index, self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    index.port = server.server_address[1]
    with answering(server):
        yield index


def _answer(index: PackageIndex, request: BaseHTTPRequestHandler) -> None:
    index.requests.append(request.path)
    expected = index.login and "Basic " + base64.b64encode(index.login.encode()).decode()
    if expected and request.headers.get("Authorization") != expected:
        request.send_response(401)
        request.send_header("WWW-Authenticate", 'Basic realm="index"')
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    name = request.path.strip("/").rpartition("/")[2]
    wheels = sorted(index.folder.glob("*.whl"))
    if index.status != 200:
        _send(request, index.status, b"")
    elif request.path.startswith("/files/"):
        _send_slowly(request, (index.folder / name).read_bytes(), index)
    else:
        found = [w for w in wheels if normalized_package(w.name.partition("-")[0]) == name]
        links = "".join(f'<a href="/files/{w.name}">{w.name}</a>\n' for w in found)
        _send(request, 200 if found else 404, links.encode())


def _send(request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    _begin(request, status, len(body))
    request.wfile.write(body)


def _send_slowly(request: BaseHTTPRequestHandler, body: bytes, index: PackageIndex) -> None:
    _begin(request, 200, len(body))
    with contextlib.suppress(OSError):  # the client went away
        for start in range(0, len(body), 1 << 16):
            index.sent_bytes += request.wfile.write(body[start : start + (1 << 16)])
            time.sleep(index.pause_s)


def _begin(request: BaseHTTPRequestHandler, status: int, size_bytes: int) -> None:
    request.send_response(status)
    request.send_header("Content-Type", "text/html")
    request.send_header("Content-Length", str(size_bytes))
    request.end_headers()
