"""Ollama's signed token requests: to an own token server that checks every signature."""

import base64
import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from olmkit.engine.remotes import Remotes
from olmkit.registry.errors import CredentialError, RegistryError, Unauthorized
from olmkit.registry.http.credentials import Credential
from olmkit.registry.http.remote import RemoteRepository
from olmkit.registry.http.signing import load_key
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference

EMPTY = base64.b64encode(hashlib.sha256(b"").hexdigest().encode()).decode()
BLOB = Digest.of(b"x")


class SignedRegistry(ThreadingHTTPServer):
    """Has one blob, and gives tokens only to the holder of a key that it knows."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.known: set[str] = set()
        self.realm = f"http://{self.host}/token"
        self.token_queries: list[list[tuple[str, str]]] = []
        self.token_headers: list[str | None] = []

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def is_signed(self, path: str, header: str | None) -> bool:
        blob, _, signature = (header or "").partition(":")
        if blob not in self.known:
            return False
        key = load_ssh_public_key(f"ssh-ed25519 {blob}".encode())
        assert isinstance(key, Ed25519PublicKey)
        signed = f"GET,http://{self.host}{path},{EMPTY}".encode()
        try:
            key.verify(base64.b64decode(signature, validate=True), signed)
        except InvalidSignature:
            return False
        return True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SignedRegistry

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        header = self.headers.get("Authorization")
        if urlsplit(self.path).path == "/token":
            query = parse_qsl(urlsplit(self.path).query)
            self.server.token_queries.append(query)
            self.server.token_headers.append(header)
            is_known = self.server.is_signed(self.path, header)
            self.answer(200 if is_known else 401, b'{"token": "good"}')
        elif header == "Bearer good":
            self.answer(200, b"")
        else:
            self.answer(401, b"", 'scope="repository:ann/m:pull repository:ann/n:pull"')

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes, scope: str = "") -> None:
        self.send_response(status)
        if scope:
            challenge = f'Bearer realm="{self.server.realm}",service="ollama.com",{scope}'
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def registry() -> Iterator[SignedRegistry]:
    with SignedRegistry() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def has_blob(registry: SignedRegistry, how: RemoteAccess) -> bool:
    reference = Reference.parse(f"{registry.host}/ann/m:1")
    with RemoteRepository(reference, how) as repository:
        return repository.has_blob(BLOB)


def with_key(path: Path) -> RemoteAccess:
    return RemoteAccess(find_key=lambda host: load_key(path))


def test_a_known_key_gets_a_token(registry: SignedRegistry, tmp_path: Path) -> None:
    path = tmp_path / "home" / "id_ed25519"
    registry.known.add(load_key(path).public_line.split()[1])
    begun_s = int(time.time())
    assert has_blob(registry, with_key(path))
    query = registry.token_queries[0]
    assert [name for name, _ in query] == sorted(name for name, _ in query)
    scopes = [value for name, value in query if name == "scope"]
    assert scopes == ["repository:ann/m:pull", "repository:ann/n:pull"]
    fields = dict(query)
    assert fields["service"] == "ollama.com"
    assert begun_s <= int(fields["ts"]) <= time.time()
    assert len(base64.urlsafe_b64decode(fields["nonce"] + "==")) == 16


def test_an_unknown_key_is_refused_and_its_public_half_told(
    registry: SignedRegistry, tmp_path: Path
) -> None:
    path = tmp_path / "id_ed25519"
    with pytest.raises(Unauthorized, match="refused this key") as found:
        has_blob(registry, with_key(path))
    assert load_key(path).public_line in (found.value.hint or "")
    assert "PRIVATE" not in str(found.value) + str(found.value.hint)


def test_a_token_server_elsewhere_gets_no_signature(
    registry: SignedRegistry, tmp_path: Path
) -> None:
    path = tmp_path / "id_ed25519"
    registry.realm = f"http://localhost:{registry.server_address[1]}/token"
    with pytest.raises(RegistryError):
        has_blob(registry, with_key(path))
    assert registry.token_headers == [None]
    assert not path.exists()


def test_a_login_goes_before_the_key(registry: SignedRegistry, tmp_path: Path) -> None:
    path = tmp_path / "id_ed25519"
    ann = Credential(username="ann", secret="secret")
    how = RemoteAccess(
        find_credential=lambda host, repository: ann, find_key=lambda host: load_key(path)
    )
    with pytest.raises(Unauthorized, match="these credentials"):
        has_blob(registry, how)
    assert not path.exists()


def test_a_new_key_is_the_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "home" / "id_ed25519"
    made = load_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_bytes().startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert path.with_name("id_ed25519.pub").read_text() == f"{made.public_line}\n"
    assert load_key(path).public_line == made.public_line
    assert sorted(os.listdir(path.parent)) == ["id_ed25519", "id_ed25519.pub"]


def test_keys_made_at_once_are_one_key(tmp_path: Path) -> None:
    path = tmp_path / "id_ed25519"
    lines: list[str] = []
    threads = [
        threading.Thread(target=lambda: lines.append(load_key(path).public_line)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines) == 8
    assert len(set(lines)) == 1


def test_ollamas_key_is_taken_where_there_is_no_own(tmp_path: Path) -> None:
    theirs = load_key(tmp_path / ".ollama" / "id_ed25519")
    environ = {"HOME": str(tmp_path), "OLM_HOME": str(tmp_path / "olm")}
    remotes = Remotes.from_environment(environ)
    found = remotes.find_key("registry.ollama.ai")
    assert found is not None
    assert found.public_line == theirs.public_line
    assert not (tmp_path / "olm").exists()
    own = load_key(tmp_path / "olm" / "id_ed25519")
    again = remotes.find_key("ollama.com")
    assert again is not None
    assert again.public_line == own.public_line


def test_other_hosts_than_ollamas_are_signed_nothing(tmp_path: Path) -> None:
    remotes = Remotes.from_environment({"HOME": str(tmp_path)})
    assert remotes.find_key("ghcr.io") is None
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("raw", [b"", b"\xff\x00", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_what_is_no_key_is_told(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "id_ed25519"
    path.write_bytes(raw)
    with pytest.raises(CredentialError, match="is no OpenSSH key"):
        load_key(path)
    assert path.read_bytes() == raw
