"""What a GGUF file says that it is, from its first bytes.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import struct
from typing import Final

HEAD_BYTES: Final = 64 * 1024
"""Enough: writers put these texts first."""

_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING: Final = 8
_MOST_KEYS: Final = 256


def general_texts(head: bytes) -> dict[str, str]:
    """The `general.…` texts at the beginning of a file, as far as `head` reaches; none of others.

    Reading ends at the first list.
    """
    found: dict[str, str] = {}
    try:
        magic, version, _, keys = struct.unpack_from("<4sIQQ", head)
        if magic != b"GGUF" or not 2 <= version <= 3:
            return {}
        offset = 24
        for _ in range(min(keys, _MOST_KEYS)):
            key, offset = _text(head, offset)
            (kind,) = struct.unpack_from("<I", head, offset)
            offset += 4
            if kind == _STRING:
                value, offset = _text(head, offset)
                if key.startswith("general."):
                    found[key] = value
            elif kind in _SIZES:
                offset += _SIZES[kind]
            else:
                break
    except (struct.error, ValueError):
        pass  # the head ends here
    return found


def _text(head: bytes, offset: int) -> tuple[str, int]:
    """A text and the offset behind it. Raises: ValueError, struct.error: the bytes end before."""
    (length,) = struct.unpack_from("<Q", head, offset)
    end = offset + 8 + length
    if end > len(head):
        raise ValueError
    return head[offset + 8 : end].decode("utf-8", "replace"), end
