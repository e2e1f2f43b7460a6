"""Room on the disk: what may still be written there, less what the user keeps free."""

import os

from olmkit.registry.errors import disk_full, free_bytes_at

STEP_BYTES = 64 << 20
"""Bytes that come are given room in steps of this size, not all that a stranger announces."""


def require_room(path: str | os.PathLike[str], needed_bytes: int, kept_free_bytes: int) -> None:
    """Nothing, when `needed_bytes` fit where `path` is and `kept_free_bytes` are left.

    Raises:
        DiskFull: they do not.
    """
    free_bytes = free_bytes_at(path)
    if free_bytes is not None and needed_bytes > free_bytes - kept_free_bytes:
        raise disk_full(path, needed_bytes=needed_bytes, kept_free_bytes=kept_free_bytes)
