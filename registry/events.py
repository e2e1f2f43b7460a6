"""Progress events of transfers, as plain data."""

from collections.abc import Callable
from dataclasses import dataclass

from olmkit.registry.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A step began, or is over: one line of text without progress."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobProgress:
    """The progress of one blob, or of one file that holds it.

    For one `label` the completed bytes never go down.
    """

    label: str
    """The line to draw, such as `pulling 6a0746a1ec1a`, or a file name where no digest is known."""
    completed_bytes: int
    total_bytes: int | None = None
    digest: Digest | None = None
    """The blob's digest, where it is known before the last byte."""


Event = Status | BlobProgress
EventSink = Callable[[Event], None]
"""Callback for events: called in the thread that does the work, in order. It must not block for
long."""
