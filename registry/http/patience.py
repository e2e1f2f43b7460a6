"""Waiting where a server says that it is busy, for requests that are not part of a download."""

import threading
from collections.abc import Callable
from itertools import count
from typing import Final, TypeVar

from olmkit.registry.errors import Cancelled, RemoteRejected

TRIES: Final = 4
PAUSE_S: Final = 0.5
"""The first, where the server names none; each is twice as long as the one before."""
_BUSY: Final = frozenset({429, 503})

T = TypeVar("T")


def patiently(ask: Callable[[], T], cancelled: threading.Event) -> T:
    """What `ask` returns; asked again after the pause that a busy server names (`Retry-After`).

    Raises:
        Cancelled: `cancelled` was set in a pause.
        RemoteError: as `ask`; of a busy server after `TRIES`.
    """
    for failures in count():
        try:
            return ask()
        except RemoteRejected as error:
            is_busy = error.status in _BUSY or error.retry_after_s is not None
            if not (is_busy and error.is_temporary) or failures + 1 >= TRIES:
                raise
            told_s = error.retry_after_s
        if cancelled.wait(PAUSE_S * 2.0**failures if told_s is None else told_s):
            raise Cancelled("the transfer was cancelled")
    raise AssertionError("the loop above ends by itself")
