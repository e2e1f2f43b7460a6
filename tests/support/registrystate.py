"""What the tests' registry holds, has seen and shall do wrong; `support.registry` serves it."""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Fault:
    """Something that goes wrong `times` times with requests whose method and path fit."""

    kind: str
    """cut, stall, status, wrong_bytes, wrong_length, wrong_range, ignore_range, drop, slow"""
    path: str = ""
    method: str = "GET"
    times: int = 1
    after_bytes: int = 0
    status: int = 503
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    rate: float = 0.0
    skip: int = 0
    """Fitting requests that pass before the fault."""


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    origin: str
    size: int = 0


@dataclass
class Upload:
    repository: str
    data: bytearray = field(default_factory=bytearray)


@dataclass
class Registry:
    """The state; tests read and change it."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    owned: dict[str, set[str]] = field(default_factory=dict)
    """Repository to the digests that it has."""
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    login: str | None = None
    """user:password"""
    scheme: str = "bearer"
    token_life_s: float = 300
    token_refresh_status: int | None = None
    """Answered to POST by the token server instead of a token."""
    tokens: dict[str, tuple[float, list[str]]] = field(default_factory=dict)
    sign_life_s: float | None = None
    """Blobs are served by the second origin, by addresses of this life."""
    rate: float | None = None
    """Bytes a second of one connection."""
    upload_rate: float | None = None
    """Likewise, of what clients send."""
    received_bytes: int = 0
    """Of blobs, so far."""
    allow_patch: bool = True
    allow_mount: bool = True
    absolute_location: bool = False
    min_chunk: int = 0
    most_chunk: int | None = None
    sent_bytes: int = 0
    """Of blobs, so far."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Start and end of what each answer with a blob's bytes got across."""
    is_chunked: bool = False
    """Blobs come in chunks, without a Content-Length (RFC 9112, section 7.1)."""
    stalled: int = 0
    """Answers that a fault holds up and that never go on."""
    answering: int = 0
    """Answers with a blob's bytes that are not over."""
    most_answering: int = 0
    """So many there were at a time."""
    tls: bool = False
    port: int = 0
    cdn_port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def put_blob(self, data: bytes, repository: str = "library/m") -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        self.owned.setdefault(repository, set()).add(digest)
        return digest

    def put_manifest(self, repository: str, tag: str, raw: bytes, media_type: str) -> str:
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        self.manifests[repository, tag] = self.manifests[repository, digest] = (media_type, raw)
        return digest

    def paths(self, method: str = "GET", part: str = "") -> list[str]:
        return [s.path for s in self.seen if s.method == method and part in s.path]

    def fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method in (method, "*") and fault.path in path:
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None
