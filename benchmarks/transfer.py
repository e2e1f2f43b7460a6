"""Pull from loopback, hashing and the store included, against curl and openssl.

The server is this process: sendfile, one thread a connection, optionally so many bytes a second
each. The pull is `olm pull`, its start included, with a daemon that runs. Server, connections and
hash share the machine: with two cores they are busy at some 1 GB/s, whatever the number of
connections.
"""

import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from anchors import OLM, elapsed_s, olm_daemon
from report import Row, median

SIZE_BYTES = int(os.environ.get("TRANSFER_BYTES") or 1 << 30)
LIMITED_RATE = 50e6
ROUNDS = 3
PIECE_BYTES = 1 << 20


class Server(ThreadingHTTPServer):
    """A registry of one model; `rate` in bytes a second of one connection, None: no limit."""

    daemon_threads = True
    request_queue_size = 128  # of 5, as it is by default, connections wait seconds for the others

    def __init__(self, weights: Path, manifest: bytes, config: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.weights = weights
        self.manifest = manifest
        self.config = config
        self.rate: float | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # the probe for TLS, and clients that go away


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as all web servers do: else the end of an answer waits 40 ms
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if "/manifests/" in self.path:
            kind = json.loads(self.server.manifest)["mediaType"]
            self.answer(self.server.manifest, kind)
        elif json.loads(self.server.manifest)["config"]["digest"] in self.path:
            self.answer(self.server.config, "application/octet-stream")
        else:
            self.weights()

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def weights(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        end = int(asked[2]) + 1 if asked and asked[2] else SIZE_BYTES
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(end - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{SIZE_BYTES}")
        self.end_headers()
        self.wfile.flush()
        rate, begun_s, sent = self.server.rate, time.monotonic(), 0
        with open(self.server.weights, "rb") as file:
            while start + sent < end:
                count = min(PIECE_BYTES, end - start - sent)
                sent += os.sendfile(self.connection.fileno(), file.fileno(), start + sent, count)
                if rate:
                    time.sleep(max(0.0, sent / rate - (time.monotonic() - begun_s)))


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    from olmkit.registry.oci import mediatypes
    from olmkit.registry.oci.digest import Digest, hash_file
    from olmkit.registry.oci.manifest import Descriptor, Manifest

    weights, config = folder / "weights", b'{"model_format":"gguf"}'
    block = os.urandom(1 << 20)
    with open(weights, "wb") as file:
        file.write(b"GGUF" + block[4:])
        while file.tell() < SIZE_BYTES:
            file.write(block)
        file.truncate(SIZE_BYTES)
    digest = hash_file(weights)
    manifest = Manifest.build(
        Descriptor(
            media_type=mediatypes.DOCKER_CONFIG, digest=Digest.of(config), size_bytes=len(config)
        ),
        [Descriptor(media_type=mediatypes.OLLAMA_MODEL, digest=digest, size_bytes=SIZE_BYTES)],
    )
    with Server(weights, manifest.raw, config) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def pull_s(server: Server, environ: dict[str, str]) -> float:
    name = f"{server.host}/library/m:1"
    pulled_s = elapsed_s([OLM, "pull", name], environ, stderr=subprocess.DEVNULL)
    elapsed_s([OLM, "rm", name], environ, stderr=subprocess.DEVNULL)
    return pulled_s


def rows() -> Iterator[Row]:
    """Rates in MB/s; the sides are measured in turns."""
    with (
        tempfile.TemporaryDirectory() as name,
        serving(Path(name)) as server,
        olm_daemon(Path(name) / "home") as daemon,
    ):
        megabytes = SIZE_BYTES / 1e6
        address = f"http://{server.host}/v2/library/m/blobs/weights"
        piped = f"curl -sS {address} | openssl dgst -sha256"
        hashed = ["openssl", "dgst", "-sha256", str(server.weights)]
        ours, curl, limited, hashing = [], [], [], []
        for _ in range(ROUNDS):
            server.rate = None
            ours.append(megabytes / pull_s(server, daemon.environ))
            curl.append(megabytes / elapsed_s(["sh", "-c", piped]))
            server.rate = LIMITED_RATE
            limited.append(megabytes / pull_s(server, daemon.environ))
            hashing.append(megabytes / elapsed_s(hashed))
        yield Row(
            name="pull from loopback",
            ours=median(ours),
            anchor=median(curl),
            unit="MB/s",
            anchor_name="curl | openssl dgst",
            target=0.9,
            at_most=False,
        )
        yield Row(
            name="pull, 50 MB/s a connection",
            ours=median(limited),
            anchor=median(hashing),
            unit="MB/s",
            anchor_name="openssl dgst -sha256",
            target=0.8,
            at_most=False,
        )
