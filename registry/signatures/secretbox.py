"""NaCl's secretbox, XSalsa20 with Poly1305: what cosign's private keys are encrypted by.

Made for the few hundred bytes of a key: Salsa20 is plain Python here, for `cryptography`, which
gives Poly1305, does not have it.

Sources: https://cr.yp.to/snuffle/xsalsa-20110204.pdf and https://nacl.cr.yp.to/secretbox.html
"""

import struct
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.poly1305 import Poly1305

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16

_SIGMA: Final = struct.unpack("<4I", b"expand 32-byte k")
_QUARTERS: Final = (
    (0, 4, 8, 12),
    (5, 9, 13, 1),
    (10, 14, 2, 6),
    (15, 3, 7, 11),
    (0, 1, 2, 3),
    (5, 6, 7, 4),
    (10, 11, 8, 9),
    (15, 12, 13, 14),
)
"""Words that each quarter of a double round works on: columns, then rows."""
_STEPS: Final = ((1, 0, 3, 7), (2, 1, 0, 9), (3, 2, 1, 13), (0, 3, 2, 18))
"""Of a quarter: word `t` gets the sum of words `a` and `b`, turned by so many bits."""


def seal(message: bytes, *, key: bytes, nonce: bytes) -> bytes:
    """The tag and the encrypted message."""
    stream = _stream(key, nonce, KEY_BYTES + len(message))
    hidden = _xor(message, stream[KEY_BYTES:])
    return Poly1305.generate_tag(stream[:KEY_BYTES], hidden) + hidden


def open_box(box: bytes, *, key: bytes, nonce: bytes) -> bytes | None:
    """The message; None when the key is wrong or the box was changed."""
    if len(box) < TAG_BYTES:
        return None
    tag, hidden = box[:TAG_BYTES], box[TAG_BYTES:]
    stream = _stream(key, nonce, KEY_BYTES + len(hidden))
    try:
        Poly1305.verify_tag(stream[:KEY_BYTES], hidden, tag)
    except InvalidSignature:
        return None
    return _xor(hidden, stream[KEY_BYTES:])


def _stream(key: bytes, nonce: bytes, size_bytes: int) -> bytes:
    """The key stream of XSalsa20."""
    words = _rounds(_state(key, nonce[:16]))
    inner = struct.pack("<8I", *(words[place] for place in (0, 5, 10, 15, 6, 7, 8, 9)))
    blocks = bytearray()
    for counter in range(-(-size_bytes // 64)):
        state = _state(inner, nonce[16:] + struct.pack("<Q", counter))
        mixed = _rounds(state)
        blocks += struct.pack(
            "<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(state, mixed, strict=True))
        )
    return bytes(blocks[:size_bytes])


def _state(key: bytes, middle: bytes) -> list[int]:
    first, second = struct.unpack("<4I", key[:16]), struct.unpack("<4I", key[16:])
    inner = struct.unpack("<4I", middle)
    return [_SIGMA[0], *first, _SIGMA[1], *inner, _SIGMA[2], *second, _SIGMA[3]]


def _rounds(state: list[int]) -> list[int]:
    """The state after 20 rounds."""
    words = list(state)
    for _ in range(10):
        for quarter in _QUARTERS:
            for target, left, right, bits in _STEPS:
                total = (words[quarter[left]] + words[quarter[right]]) & 0xFFFFFFFF
                words[quarter[target]] ^= (total << bits | total >> (32 - bits)) & 0xFFFFFFFF
    return words


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
