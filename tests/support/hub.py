"""Hugging Face's HTTP API, as far as pulls need it, of files in memory.

Shapes: https://huggingface.co/docs/hub/api — `revision`, `tree` with pages by `Link`, `resolve`
with a redirect to another origin for large files, 401 and 403 with `X-Error-Message`.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from support.httpservers import answering

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAGE = 3


@dataclass
class Hub:
    """One repository; tests read and change it."""

    repository: str
    files: Mapping[str, bytes]
    large: int = 20
    """Files of at least so many bytes are kept by LFS."""
    token: str | None = None
    gated: bool = False
    head: str = COMMIT
    """What `main` is; there are files of `COMMIT` only."""
    port: int = 0
    cdn_port: int = 0
    seen: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Origin, path and Authorization of each request."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving_hub(hub: Hub) -> Iterator[Hub]:
    """The repository, answering while the block runs."""
    servers = []
    for origin in ("hub", "cdn"):
        handler = type("Handler", (_Handler,), {"hub": hub, "origin": origin})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        servers.append(server)
    hub.port, hub.cdn_port = (server.server_address[1] for server in servers)
    with answering(*servers):
        yield hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    origin: str

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        hub, parts = self.hub, urlsplit(self.path)
        given = self.headers.get("Authorization")
        hub.seen.append((self.origin, self.path, given))
        if self.origin == "cdn":
            self._file(hub.files[unquote(parts.path[1:])])
            return
        if hub.token and given != f"Bearer {hub.token}":
            if hub.gated:
                message = f"Access to model {hub.repository} is restricted."
                self._send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": message})
            else:
                self._send(401, b'{"error":"Invalid username or password."}')
            return
        api = f"/api/models/{hub.repository}"
        match = re.fullmatch(f"/{hub.repository}/resolve/{COMMIT}/(.*)", parts.path)
        if parts.path in (f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            commit = hub.head if parts.path.endswith("/main") else COMMIT
            self._send(200, json.dumps({"id": hub.repository, "sha": commit}).encode())
        elif parts.path == f"{api}/tree/{COMMIT}":
            self._tree(int(parse_qs(parts.query).get("cursor", ["0"])[0]))
        elif match and unquote(match[1]) in hub.files:
            data = hub.files[unquote(match[1])]
            if len(data) < hub.large:
                self._file(data)
            else:
                location = f"http://127.0.0.1:{hub.cdn_port}/{match[1]}"
                self._send(302, b"", {"Location": location})
        else:
            self._send(404, b'{"error":"Repository not found"}', {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def _tree(self, cursor: int) -> None:
        hub, entries = self.hub, []
        for path, data in hub.files.items():
            entry: dict[str, object] = {
                "type": "file",
                "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
                "size": len(data),
                "path": path,
            }
            if len(data) >= hub.large:
                digest = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 134}
            entries.append(entry)
        headers = {}
        if cursor + PAGE < len(entries):
            path = f"/api/models/{hub.repository}/tree/{COMMIT}?recursive=true"
            headers["Link"] = f'<{hub.address}{path}&cursor={cursor + PAGE}>; rel="next"'
        self._send(200, json.dumps(entries[cursor : cursor + PAGE]).encode(), headers)

    def _file(self, data: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self._send(200, data)
            return
        start, end = int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data))
        told = f"bytes {start}-{end - 1}/{len(data)}"
        self._send(206, data[start:end], {"Content-Range": told})
