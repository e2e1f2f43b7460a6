"""A token server for Debian's `docker-registry`: tokens signed with a key that it trusts.

    with token_server(tmp_path, login="ann:secret") as tokens:
        with debian_registry(tmp_path / "r", token_realm=tokens.realm,
                             token_certificate=tokens.certificate) as registry: …

Source: distribution, "Token Authentication Implementation" and "Token Authentication
Specification" (libtrust's JWT with an x5c header).
"""

import base64
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from support.httpservers import answering


class TokenServer(ThreadingHTTPServer):
    """Gives everybody with the login what they ask for."""

    daemon_threads = True

    def __init__(self, folder: Path, login: str | None, life_s: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.login = login
        self.life_s = life_s
        self.asked: list[dict[str, list[str]]] = []
        authority = trustme.CA()
        self.certificate = folder / "tokens.pem"
        folder.mkdir(parents=True, exist_ok=True)
        authority.cert_pem.write_to_path(str(self.certificate))
        issued = authority.issue_cert("tokens.invalid")
        self._key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        leaf = load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
        self._chain = [base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()]

    @property
    def realm(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/auth"

    def token(self, service: str, scopes: list[str]) -> str:
        now_s = int(time.time())
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        is_ec = isinstance(self._key, ec.EllipticCurvePrivateKey)
        header = {"typ": "JWT", "alg": "ES256" if is_ec else "RS256", "x5c": self._chain}
        claims = {
            "iss": "tests",
            "sub": "ann",
            "aud": service,
            "exp": now_s + self.life_s,
            "nbf": now_s - 5,
            "iat": now_s,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        signed = f"{_encoded(header)}.{_encoded(claims)}"
        return f"{signed}.{_base64(self._sign(signed.encode()))}"

    def _sign(self, data: bytes) -> bytes:
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            pair = utils.decode_dss_signature(self._key.sign(data, ec.ECDSA(hashes.SHA256())))
            return b"".join(number.to_bytes(32, "big") for number in pair)
        assert isinstance(self._key, rsa.RSAPrivateKey)
        return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: TokenServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self.server.asked.append(query)
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        login = self.server.login
        if login is not None and given != base64.b64encode(login.encode()).decode():
            self._send(401, {"details": "incorrect username or password"})
            return
        token = self.server.token(query["service"][0], query.get("scope", []))
        self._send(200, {"token": token, "expires_in": self.server.life_s})

    def _send(self, status: int, fields: dict[str, Any]) -> None:
        body = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def token_server(
    folder: Path, *, login: str | None = None, life_s: int = 300
) -> Iterator[TokenServer]:
    """The server, answering while the block runs; its certificate is put into `folder`."""
    with TokenServer(folder, login, life_s) as server, answering(server):
        yield server


def _encoded(fields: dict[str, Any]) -> str:
    return _base64(json.dumps(fields).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
