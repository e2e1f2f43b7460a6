"""Public keys: read from what cosign and openssl write, and asked whether they signed something.

ECDSA on P-256, which is cosign's own, Ed25519, and RSA of 2048 bits or more; all over SHA-256 but
Ed25519, which has its own.

Source: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
"""

import base64
import binascii
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from olmkit.registry.errors import InvalidKey, store_errors
from olmkit.registry.oci.digest import Digest

KEY_LIMIT_BYTES: Final = 64 << 10
_RSA_BITS: Final = range(2048, 16385)
_HINT: Final = "cosign's public keys begin with -----BEGIN PUBLIC KEY-----"

Loaded = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures can be held against; equal keys are equal."""

    der: bytes
    """Its SubjectPublicKeyInfo."""

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the key's DER, as `sha256:` and 64 hexadecimal digits."""
        return str(Digest.of(self.der))

    @property
    def base64(self) -> str:
        """The key's DER in one line of text."""
        return base64.b64encode(self.der).decode()

    @property
    def pem(self) -> bytes:
        """The key as cosign writes it."""
        return self._loaded.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def _loaded(self) -> Loaded:
        return _usable(load_der_public_key(self.der), "the key")

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        """Whether the signature is by this key, over exactly this message."""
        key = self._loaded
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
            elif isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            else:
                key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def parse_pem(raw: bytes, name: str) -> PublicKey:
    """The public key that a PEM text holds; `name` is what messages call it.

    Raises:
        InvalidKey: it holds none, or one of a kind that signs no models.
    """
    try:
        loaded = load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm) as error:
        hint = "name the public key, such as cosign.pub" if b"PRIVATE KEY" in raw else _HINT
        raise InvalidKey(f"{name} holds no public key in PEM", hint=hint) from error
    return public_key_of(_usable(loaded, name))


def parse_base64(text: str) -> PublicKey:
    """The key that `PublicKey.base64` wrote.

    Raises:
        InvalidKey: it is none.
    """
    name = f"the key {text[:20]!r}…"
    try:
        if len(text) > KEY_LIMIT_BYTES:
            raise ValueError(f"it is longer than {KEY_LIMIT_BYTES} characters")
        der = base64.b64decode(text, validate=True)
        loaded = load_der_public_key(der)
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise InvalidKey(f"{name} is no public key") from error
    return public_key_of(_usable(loaded, name))


def public_key_of(loaded: Loaded) -> PublicKey:
    """The key of `cryptography` as one of ours."""
    return PublicKey(loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def read_key_file(path: Path) -> bytes:
    """The bytes of a file of keys.

    Raises:
        InvalidKey: it is longer than any key.
        StoreError: it cannot be read.
    """
    with store_errors(path, "read"), open(path, "rb") as file:
        raw = file.read(KEY_LIMIT_BYTES + 1)
    if len(raw) > KEY_LIMIT_BYTES:
        raise InvalidKey(f"{path} is longer than {KEY_LIMIT_BYTES} bytes, which no key is")
    return raw


def read_public_key(path: Path) -> PublicKey:
    """The public key of a file in PEM.

    Raises:
        InvalidKey: it holds none.
        StoreError: it cannot be read.
    """
    return parse_pem(read_key_file(path), str(path))


def _usable(loaded: object, name: str) -> Loaded:
    if isinstance(loaded, ed25519.Ed25519PublicKey):
        return loaded
    if isinstance(loaded, ec.EllipticCurvePublicKey):
        if isinstance(loaded.curve, ec.SECP256R1):
            return loaded
        raise InvalidKey(f"{name} is on the curve {loaded.curve.name}, which is not used here")
    if isinstance(loaded, rsa.RSAPublicKey):
        if loaded.key_size in _RSA_BITS:
            return loaded
        raise InvalidKey(f"{name} is an RSA key of {loaded.key_size} bits, 2048 are needed")
    raise InvalidKey(f"{name} is of a kind that signs no models")
