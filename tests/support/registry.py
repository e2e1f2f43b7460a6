"""A strict OCI registry in this process, with faults to order.

    with serving() as registry:
        registry.put_blob(data); registry.put_manifest("library/m", "latest", raw)
        registry.faults.append(Fault("cut", path="blobs/", after_bytes=1000, times=2))

It refuses what the distribution spec does not allow: chunks out of order, wrong digests or
lengths, manifests without their blobs. Blobs may be served by a second origin, with signed
addresses that expire.
"""

import base64
import hashlib
import json
import re
import secrets
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from support.httpservers import answering
from support.registrystate import Fault, Registry, Seen, Upload

__all__ = ["Fault", "Registry", "serving"]

REPOSITORY = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
PIECE = 1 << 18


@contextmanager
def serving(
    registry: Registry | None = None, *, tls: ssl.SSLContext | None = None
) -> Iterator[Registry]:
    """The registry, answering while the block runs."""
    registry = registry or Registry()
    registry.tls = tls is not None
    servers = [_Server(registry, origin, tls) for origin in ("registry", "cdn")]
    registry.port, registry.cdn_port = (server.server_address[1] for server in servers)
    with answering(*servers):
        try:
            yield registry
        finally:
            for server in servers:
                server.stopped.set()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, registry: Registry, origin: str, tls: ssl.SSLContext | None) -> None:
        self.registry = registry
        self.origin = origin
        self.tls = tls
        self.stopped = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: object, client_address: object) -> None:
        if self.tls is None:
            super().finish_request(request, client_address)  # type: ignore[arg-type]
            return
        try:
            with self.tls.wrap_socket(request, server_side=True) as secured:  # type: ignore[arg-type]
                super().finish_request(secured, client_address)
        except OSError:
            return  # the client does not like our certificate

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients go away


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_GET

    def _answer(self) -> None:
        registry = self.server.registry
        self.split = urlsplit(self.path)
        self.query = {k: v[-1] for k, v in parse_qs(self.split.query).items()}
        self.body_left = int(self.headers.get("Content-Length") or 0)
        seen = Seen(
            self.command,
            self.path,
            {k.lower(): v for k, v in self.headers.items()},
            self.server.origin,
            self.body_left,
        )
        registry.seen.append(seen)
        fault = registry.fault(self.command, self.path)
        try:
            if fault and fault.kind == "status":
                self._read_body()
                self._send(fault.status, fault.body, dict(fault.headers))
            elif fault and fault.kind == "drop":
                self.close_connection = True
            else:
                self._route(fault)
        except _Refused as error:
            if self.body_left:
                self._read_body()
            body = json.dumps({"errors": [{"code": error.code, "message": error.message}]})
            headers = {k.replace("_", "-"): v for k, v in error.headers.items()}
            self._send(error.status, body.encode(), headers)

    def _read_body(self, limit: int | None = None) -> bytes:
        data = bytearray()
        want = self.body_left if limit is None else min(limit, self.body_left)
        while len(data) < want:
            block = self.rfile.read(min(PIECE, want - len(data)))
            if not block:
                self.close_connection = True
                break
            data += block
        self.body_left -= len(data)
        return bytes(data)

    def _send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and body:
            self.wfile.write(body)

    # --- routes

    def _route(self, fault: Fault | None) -> None:
        registry, path = self.server.registry, self.split.path
        if self.server.origin == "cdn":
            return self._cdn(fault)
        if path == "/token":
            return self._token()
        self._authorize(path)
        if path == "/v2/":
            return self._send(200, b"{}")
        match = re.fullmatch(r"/v2/(.+?)/(manifests|blobs|tags)/(.*)", path)
        if match is None:
            raise _Refused(404, "UNSUPPORTED")
        repository, kind, rest = match.groups()
        if REPOSITORY.fullmatch(repository) is None:
            raise _Refused(400, "NAME_INVALID", f"invalid repository name {repository}")
        if kind == "manifests":
            return self._manifest(repository, rest)
        if kind == "tags":
            tags = sorted(t for r, t in registry.manifests if r == repository and ":" not in t)
            return self._send(200, json.dumps({"name": repository, "tags": tags}).encode())
        if rest.startswith("uploads/"):
            return self._upload(repository, rest.removeprefix("uploads/"))
        return self._blob(repository, rest, fault)

    def _authorize(self, path: str) -> None:
        registry = self.server.registry
        if registry.login is None:
            return
        given = self.headers.get("Authorization", "")
        if registry.scheme == "basic":
            if given == _basic(registry.login):
                return
            raise _Refused(
                401, "UNAUTHORIZED", "authentication required", WWW_Authenticate='Basic realm="r"'
            )
        action = "pull" if self.command in ("GET", "HEAD") else "pull,push"
        match = re.match(r"/v2/(.+?)/(manifests|blobs|tags)/", path)
        scope = f"repository:{match[1]}:{action}" if match else ""
        token = registry.tokens.get(given.removeprefix("Bearer "))
        is_alive = token is not None and token[0] > time.monotonic()
        if token and is_alive and (not scope or any(_covers(h, scope) for h in token[1])):
            return
        base = f"{'https' if registry.tls else 'http'}://{registry.host}"
        challenge = f'Bearer realm="{base}/token",service="strict, registry"'
        if scope:
            challenge += f',scope="{scope}"'
        raise _Refused(401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=challenge)

    def _token(self) -> None:
        registry = self.server.registry
        assert registry.login is not None
        if self.command == "POST":
            form = {k: v[-1] for k, v in parse_qs(self._read_body().decode()).items()}
            if registry.token_refresh_status:
                raise _Refused(registry.token_refresh_status, "UNSUPPORTED")
            if form.get("refresh_token") != registry.login.partition(":")[2]:
                raise _Refused(401, "UNAUTHORIZED", "bad refresh token")
            scopes = form.get("scope", "").split()
        else:
            if self.headers.get("Authorization") != _basic(registry.login):
                raise _Refused(401, "UNAUTHORIZED", "incorrect username or password")
            scopes = parse_qs(self.split.query).get("scope", [])
        token = secrets.token_hex(8)
        registry.tokens[token] = (time.monotonic() + registry.token_life_s, scopes)
        answer = {"token": token, "expires_in": max(1, int(registry.token_life_s))}
        self._send(200, json.dumps(answer).encode())

    def _manifest(self, repository: str, tag: str) -> None:
        registry = self.server.registry
        if self.command == "PUT":
            raw = self._read_body()
            digest = "sha256:" + hashlib.sha256(raw).hexdigest()
            media_type = self.headers.get("Content-Type", "")
            found = json.loads(raw)
            if found.get("mediaType", media_type) != media_type:
                raise _Refused(400, "MANIFEST_INVALID", "the media types differ")
            if ":" in tag and tag != digest:
                raise _Refused(400, "DIGEST_INVALID")
            for blob in [found["config"], *found["layers"]] if "layers" in found else []:
                if blob["digest"] not in registry.owned.get(repository, ()):
                    raise _Refused(404, "MANIFEST_BLOB_UNKNOWN", f"blob unknown: {blob['digest']}")
                if len(registry.blobs[blob["digest"]]) != blob["size"]:
                    raise _Refused(400, "SIZE_INVALID")
            for listed in found.get("manifests", ()):
                if (repository, listed["digest"]) not in registry.manifests:
                    raise _Refused(404, "MANIFEST_UNKNOWN", f"unknown: {listed['digest']}")
            registry.put_manifest(repository, tag, raw, media_type)
            self._send(201, b"", {"Docker-Content-Digest": digest})
            return
        stored = registry.manifests.get((repository, tag))
        if stored is None:
            raise _Refused(404, "MANIFEST_UNKNOWN", f"manifest unknown: {tag}")
        if stored[0] not in self.headers.get("Accept", ""):
            raise _Refused(404, "MANIFEST_UNKNOWN", f"not accepted: {stored[0]}")
        digest = "sha256:" + hashlib.sha256(stored[1]).hexdigest()
        self._send(200, stored[1], {"Content-Type": stored[0], "Docker-Content-Digest": digest})

    def _blob(self, repository: str, digest: str, fault: Fault | None) -> None:
        registry = self.server.registry
        if digest not in registry.owned.get(repository, ()):
            raise _Refused(404, "BLOB_UNKNOWN", f"blob unknown to registry: {digest}")
        if registry.sign_life_s is not None and self.command == "GET":
            until = time.monotonic() + registry.sign_life_s
            scheme = "https" if registry.tls else "http"
            address = f"{scheme}://127.0.0.1:{registry.cdn_port}/data/{digest}?until={until}"
            self._send(307, b"see there", {"Location": address})
            return
        self._data(registry.blobs[digest], fault)

    def _cdn(self, fault: Fault | None) -> None:
        registry = self.server.registry
        if "Authorization" in self.headers:
            raise _Refused(400, "DENIED", "only one auth mechanism allowed")
        if time.monotonic() > float(self.query["until"]):
            self._send(403, b"<Error><Code>AccessDenied</Code>Request has expired</Error>")
            return
        self._data(registry.blobs[self.split.path.rpartition("/")[2]], fault)

    def _data(self, data: bytes, fault: Fault | None) -> None:
        kind = fault.kind if fault else ""
        start, end, status = 0, len(data), 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        if asked and kind != "ignore_range":
            start, end = int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data))
            if start >= len(data):
                raise _Refused(416, "RANGE_INVALID", Content_Range=f"bytes */{len(data)}")
            status = 206
            shift = 7 if kind == "wrong_range" else 0
            headers["Content-Range"] = f"bytes {start + shift}-{end - 1}/{len(data)}"
        body = memoryview(data)[start:end]
        if kind == "wrong_bytes":
            body = memoryview(bytes(len(body)))
        length = len(body) - (5 if kind == "wrong_length" else 0)
        self.send_response(status)
        is_chunked = self.server.registry.is_chunked and self.command != "HEAD"
        framing = ("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", length)
        for name, value in (*headers.items(), framing):
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self._write_slowly(body[:length], fault, start)

    def _write_slowly(self, body: memoryview, fault: Fault | None, start: int) -> None:
        rate = fault.rate if fault and fault.kind == "slow" else self.server.registry.rate
        sent, begun_s = 0, time.monotonic()
        stops = fault is not None and fault.kind in ("cut", "stall")
        limit = fault.after_bytes if fault and stops else len(body)
        piece = PIECE if rate is None else max(1, min(PIECE, int(rate / 20)))
        with self.server.registry.lock:
            registry = self.server.registry
            registry.answering += 1
            registry.most_answering = max(registry.most_answering, registry.answering)
        try:
            while sent < min(limit, len(body)) and not self.server.stopped.is_set():
                if rate and self._is_left_alone():
                    break  # what is sent now would arrive nowhere
                count = self._write(body[sent : min(sent + piece, limit)])
                sent += count
                with self.server.registry.lock:
                    self.server.registry.sent_bytes += count
                if rate:
                    time.sleep(max(0.0, sent / rate - (time.monotonic() - begun_s)))
        finally:
            with self.server.registry.lock:
                self.server.registry.spans.append((start, start + sent))
                self.server.registry.answering -= 1
        if stops:
            self.close_connection = True
            if fault and fault.kind == "stall":
                with self.server.registry.lock:
                    self.server.registry.stalled += 1
                self.server.stopped.wait()
        elif registry.is_chunked and sent == len(body):
            self.connection.sendall(b"0\r\n\r\n")

    def _write(self, piece: memoryview) -> int:
        """Send the next bytes of a body; how many of them went."""
        if not self.server.registry.is_chunked:
            return int(self.connection.send(piece))
        self.connection.sendall(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)))
        return len(piece)

    def _is_left_alone(self) -> bool:
        if not select.select([self.connection], [], [], 0)[0]:
            return False
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def _upload(self, repository: str, session: str) -> None:
        registry = self.server.registry
        if self.command == "POST":
            self._begin_upload(repository)
            return
        upload = registry.uploads.get(session)
        if upload is None or upload.repository != repository:
            raise _Refused(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if self.command == "GET":
            self._send(204, b"", self._place(repository, session, upload))
        elif self.command == "PATCH":
            self._append(upload)
            self._send(202, b"", self._place(repository, session, upload))
        elif self.command == "PUT":
            fault = registry.fault("PUT-body", self.path)
            self._receive(upload, fault)
            if fault or self.body_left:
                self.close_connection = True
                return
            digest = "sha256:" + hashlib.sha256(upload.data).hexdigest()
            del registry.uploads[session]
            if self.query.get("digest") != digest:
                raise _Refused(400, "DIGEST_INVALID", "provided digest did not match")
            registry.put_blob(bytes(upload.data), repository)
            self._send(201, b"", {"Location": f"/v2/{repository}/blobs/{digest}"})

    def _begin_upload(self, repository: str) -> None:
        registry = self.server.registry
        mount, source = self.query.get("mount"), self.query.get("from")
        if mount and source and registry.allow_mount and mount in registry.owned.get(source, ()):
            registry.owned.setdefault(repository, set()).add(mount)
            self._send(201, b"", {"Location": f"/v2/{repository}/blobs/{mount}"})
            return
        session = secrets.token_hex(8)
        registry.uploads[session] = Upload(repository)
        headers = self._place(repository, session, registry.uploads[session])
        if registry.min_chunk:
            headers["OCI-Chunk-Min-Length"] = str(registry.min_chunk)
        self._send(202, b"", headers)

    def _append(self, upload: Upload) -> None:
        registry = self.server.registry
        if not registry.allow_patch:
            raise _Refused(405, "UNSUPPORTED", "no chunked upload here")
        told = re.fullmatch(r"(\d+)-(\d+)", self.headers.get("Content-Range", ""))
        if told is None or int(told[2]) - int(told[1]) + 1 != self.body_left:
            raise _Refused(400, "SIZE_INVALID", "Content-Range and Content-Length differ")
        if int(told[1]) != len(upload.data):
            raise _Refused(416, "BLOB_UPLOAD_INVALID", "out of order")
        if registry.most_chunk is not None and self.body_left > registry.most_chunk:
            raise _Refused(416, "BLOB_UPLOAD_INVALID", "chunk too large")
        fault = registry.fault("PATCH-body", self.path)
        self._receive(upload, fault)
        if fault:
            self.close_connection = True
            raise ConnectionAbortedError

    def _receive(self, upload: Upload, fault: Fault | None) -> None:
        """Append the body as it comes; what came before it broke off stays."""
        registry, left = self.server.registry, self.body_left
        if fault is not None:
            left = min(left, fault.after_bytes)
        while left > 0 and not self.close_connection:
            block = self._read_body(min(PIECE, left))
            upload.data += block
            left -= len(block)
            with registry.lock:
                registry.received_bytes += len(block)
            if registry.upload_rate:
                time.sleep(len(block) / registry.upload_rate)

    def _place(self, repository: str, session: str, upload: Upload) -> dict[str, str]:
        path = f"/v2/{repository}/blobs/uploads/{session}?_state={secrets.token_urlsafe(6)}%3D"
        base = (
            f"http://{self.server.registry.host}" if self.server.registry.absolute_location else ""
        )
        return {
            "Location": base + path,
            "Range": f"0-{max(0, len(upload.data) - 1)}",
            "Docker-Upload-UUID": session,
        }


def _basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def _covers(held: str, wanted: str) -> bool:
    """Whether the scope `held` allows what `wanted` asks."""
    (kind, name, actions), (_, wanted_name, wanted_actions) = held.split(":"), wanted.split(":")
    is_same = kind == "repository" and name == wanted_name
    return is_same and set(wanted_actions.split(",")) <= set(actions.split(","))
