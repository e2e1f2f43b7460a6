"""Ollama's authentication: token requests that are signed with the user's ed25519 key.

Decides where the key is, and what is signed. Sends nothing. A signed request goes only to the
origin that asked for it, so that nobody else can be made to accept it.

Source: https://github.com/ollama/ollama/blob/v0.17.4/auth/auth.go and server/auth.go there;
RFC 8709 (ed25519 in OpenSSH's forms).
"""

import base64
import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode

import httpx

from olmkit.registry.errors import CredentialError

if TYPE_CHECKING:  # loaded by the first request that must be signed
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_LIMIT_BYTES: Final = 64 * 1024
NONCE_BYTES: Final = 16
EMPTY_BODY: Final = base64.b64encode(hashlib.sha256(b"").hexdigest().encode()).decode()


class SigningKey:
    """A user's key; `path` is the file that it came from."""

    def __init__(self, key: "Ed25519PrivateKey", path: Path) -> None:
        self._key = key
        self.path = path

    @property
    def public_line(self) -> str:
        """The public half as OpenSSH writes it: `ssh-ed25519 AAAA…`."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        public = self._key.public_key()
        return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    def authorization(self, data: bytes) -> str:
        """The value of `Authorization` that signs `data`."""
        blob = self.public_line.split(" ")[1]
        return f"{blob}:{base64.b64encode(self._key.sign(data)).decode()}"


def load_key(own: Path, others: Sequence[Path] = ()) -> SigningKey:
    """The key in `own`, else in the first of `others` that exists, else a new one in `own`.

    Raises:
        CredentialError: a file is no unencrypted ed25519 key, or cannot be read or made.
    """
    for path in (own, *others):
        if (found := _read(path)) is not None:
            return found
    return _make(own)


def _read(path: Path) -> SigningKey | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        with open(path, "rb") as file:
            raw = file.read(KEY_LIMIT_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CredentialError(f"cannot read {path}: {error.strerror}") from error
    try:
        key = load_ssh_private_key(raw, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CredentialError(f"{path} is no OpenSSH key without a passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise CredentialError(f"{path} is no ed25519 key")
    return SigningKey(key, path)


def _make(path: Path) -> SigningKey:
    """A new key; when another process makes one at the same moment, that one."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    raw = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    staged = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                _name(staged, path)
        finally:
            staged.unlink(missing_ok=True)
        made = _read(path)
        if made is None:
            raise CredentialError(f"cannot make {path}: it was removed")
        path.with_name(f"{path.name}.pub").write_text(f"{made.public_line}\n")
    except OSError as error:
        raise CredentialError(f"cannot make {path}: {error.strerror}") from error
    return made


def _name(staged: Path, path: Path) -> None:
    """Give the finished key its name, never instead of a key that is there.

    Raises:
        FileExistsError: one is there.
    """
    try:
        os.link(staged, path)
    except FileExistsError:
        raise
    except OSError:  # FAT and many network file systems know no hard links
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.replace(staged, path)


def signed_request(
    key: SigningKey,
    realm: httpx.URL,
    service: str,
    scopes: Iterable[str],
    *,
    now_s: float | None = None,
    nonce: bytes | None = None,
) -> httpx.Request:
    """The token request for a challenge, signed.

    `now_s` is in seconds since the epoch, None the present; `nonce` is drawn when None.
    """
    drawn = secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce
    query = parse_qsl(realm.query.decode("ascii", "replace"), keep_blank_values=True)
    query += [("service", service)] + [("scope", scope) for scope in scopes]
    query += [
        ("ts", str(int(time.time() if now_s is None else now_s))),
        ("nonce", base64.urlsafe_b64encode(drawn).decode().rstrip("=")),
    ]
    query.sort(key=lambda pair: pair[0])  # stable: scopes stay in order
    request = httpx.Request("GET", realm.copy_with(query=urlencode(query).encode()))
    request.headers["Authorization"] = key.authorization(string_to_sign(request))
    return request


def string_to_sign(request: httpx.Request) -> bytes:
    """The bytes that the signature of a request without a body covers."""
    return f"{request.method},{request.url},{EMPTY_BODY}".encode()
