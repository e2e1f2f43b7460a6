"""Private keys: made, encrypted by a password as cosign encrypts its own, and read again.

The file is PEM around JSON: scrypt makes the key of a secretbox out of the password, and in the box
is PKCS #8. Keys of openssl, PKCS #8 in PEM, encrypted or not, can be used as well.

Source: https://github.com/secure-systems-lab/go-securesystemslib/blob/main/encrypted/encrypted.go
"""

import base64
import binascii
import hashlib
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from olmkit.registry.errors import InvalidKey
from olmkit.registry.signatures import secretbox
from olmkit.registry.signatures.publickeys import PublicKey, public_key_of

LABEL: Final = "ENCRYPTED SIGSTORE PRIVATE KEY"
_LABELS: Final = (LABEL, "ENCRYPTED COSIGN PRIVATE KEY")
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z ]+)-----\s+([A-Za-z0-9+/=\s]+?)-----END \1-----\s*")
SCRYPT: Final = {"N": 65536, "r": 8, "p": 1}
_SCRYPT_COSTS: Final = (32768, 65536, 131072)
"""What files of cosign, old and new, ask for; any more could take all memory."""
_MEMORY_BYTES: Final = 160 << 20
_WIDTH: Final = 64

AskPassword = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs."""

    loaded: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        """The other half."""
        return public_key_of(self.loaded.public_key())

    def sign(self, message: bytes) -> bytes:
        """The signature over a message: DER for ECDSA, 64 bytes for Ed25519."""
        if isinstance(self.loaded, ed25519.Ed25519PrivateKey):
            return self.loaded.sign(message)
        return self.loaded.sign(message, ec.ECDSA(hashes.SHA256()))


def new_key() -> SigningKey:
    """A new key, as cosign makes them: ECDSA on P-256."""
    return SigningKey(ec.generate_private_key(ec.SECP256R1()))


def encrypted_pem(key: SigningKey, password: bytes) -> bytes:
    """The key's file, which the password opens; cosign reads it."""
    plain = key.loaded.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    salt = secrets.token_bytes(32)
    nonce = secrets.token_bytes(secretbox.NONCE_BYTES)
    box = secretbox.seal(plain, key=_box_key(password, salt, SCRYPT["N"]), nonce=nonce)
    body = {
        "kdf": {"name": "scrypt", "params": SCRYPT, "salt": _text(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": _text(nonce)},
        "ciphertext": _text(box),
    }
    text = _text(json.dumps(body, separators=(",", ":")).encode())
    lines = [text[at : at + _WIDTH] for at in range(0, len(text), _WIDTH)]
    return "\n".join([f"-----BEGIN {LABEL}-----", *lines, f"-----END {LABEL}-----", ""]).encode()


def parse_private_key(raw: bytes, name: str, ask_password: AskPassword) -> SigningKey:
    """The private key of a file; `ask_password` is called where it is encrypted.

    Raises:
        InvalidKey: it is none, or of a kind that signs no models, or the password is wrong.
    """
    match = _PEM.fullmatch(raw.strip() + b"\n")
    if match is None:
        hint = "cosign's private keys are called cosign.key, their public halves cosign.pub"
        raise InvalidKey(f"{name} holds no private key in PEM", hint=hint)
    label = match[1].decode()
    try:
        if label in _LABELS:
            loaded = load_der_private_key(_opened(match[2], name, ask_password), None)
        else:
            password = ask_password() if label == "ENCRYPTED PRIVATE KEY" else None
            loaded = load_pem_private_key(raw, password)
    except InvalidKey:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        is_locked = label == "ENCRYPTED PRIVATE KEY"
        reason = "cannot be opened with this password" if is_locked else "holds no private key"
        raise InvalidKey(f"{name} {reason}") from error
    if isinstance(loaded, ec.EllipticCurvePrivateKey) and isinstance(loaded.curve, ec.SECP256R1):
        return SigningKey(loaded)
    if isinstance(loaded, ed25519.Ed25519PrivateKey):
        return SigningKey(loaded)
    raise InvalidKey(
        f"{name} is a key of a kind that signs no models",
        hint="ECDSA on P-256 and Ed25519 do; `olm sign --generate-key` makes one",
    )


def _opened(body: bytes, name: str, ask_password: AskPassword) -> bytes:
    """What is in the box."""
    try:
        value = json.loads(base64.b64decode(b"".join(body.split()), validate=True))
        salt, nonce = _bytes(value["kdf"]["salt"]), _bytes(value["cipher"]["nonce"])
        box, costs = _bytes(value["ciphertext"]), value["kdf"]["params"]
        kinds = (value["kdf"]["name"], value["cipher"]["name"])
        is_known = kinds == ("scrypt", "nacl/secretbox") and len(nonce) == secretbox.NONCE_BYTES
        is_cheap = costs["N"] in _SCRYPT_COSTS and (costs["r"], costs["p"]) == (8, 1)
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
        raise InvalidKey(f"{name} cannot be read as a key of cosign") from error
    if not (is_known and is_cheap):
        raise InvalidKey(f"{name} is encrypted in a way that cosign does not encrypt keys")
    opened = secretbox.open_box(
        box, key=_box_key(ask_password(), salt, int(costs["N"])), nonce=nonce
    )
    if opened is None:
        raise InvalidKey(f"{name} cannot be opened with this password")
    return opened


def _box_key(password: bytes, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(
        password,
        salt=salt,
        n=cost,
        r=SCRYPT["r"],
        p=SCRYPT["p"],
        maxmem=_MEMORY_BYTES,
        dklen=secretbox.KEY_BYTES,
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: Any) -> bytes:
    return base64.b64decode(text, validate=True)
