"""What happens while models move, as plain data for whoever draws or forwards it."""

from collections.abc import Callable
from dataclasses import dataclass

from olmkit.registry.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A step began, or is over: one line of text without progress."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobProgress:
    """How much of one blob, or of one file that holds it, has arrived.

    For one `label` the completed bytes never go down.
    """

    label: str
    """The line to draw, such as `pulling 6a0746a1ec1a`, or a file name where no digest is known."""
    completed_bytes: int
    total_bytes: int | None = None
    digest: Digest | None = None
    """Of the blob, where it is known before the last byte."""


Event = Status | BlobProgress
EventSink = Callable[[Event], None]
"""Is called in the thread that does the work, in order; must not block for long."""
