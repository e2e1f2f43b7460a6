"""The numbers of downloads and uploads that depend on the network, not on the model."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLimits:
    """How much a transfer asks for at a time, and how long it waits."""

    streams: int | None = None
    """Most connections; None: as many as help."""
    range_min_bytes: int = 1 << 20
    range_max_bytes: int = 32 << 20
    """Length of a requested range: the shorter the ranges, the sooner they can be hashed, but each
    costs a response time."""
    chunk_bytes: int = 16 << 20
    """Blobs up to this size are sent in one request, longer ones in chunks of it: what a kill can
    cost with a registry that forgets a chunk that broke off."""
    silence_s: float = 15.0
    """Time without a byte after which a connection is replaced."""
    slow_s: float = 5.0
    """Time for which a connection may be far slower than the others before it is replaced."""
    first_pause_s: float = 0.25
    """Pause after the first failure; it doubles with each further one."""
