"""Responses that are kept, so that later requests can go on from them.

They are kept in memory, only while the daemon runs and only where `OLM_STORED_RESPONSES` says how
many; the oldest go first.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from olmkit.engine.access.caller import current
from olmkit.engine.api.jsontext import encode_json
from olmkit.engine.errors import ResponseNotStored

MOST_STORED_BYTES: Final = 64 << 20
"""Of the JSON of all that is kept."""

Item = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """One response, and all that led to it."""

    response: dict[str, Any]
    """The object as it was sent."""
    input: tuple[Item, ...]
    """What the model was asked: the items of all earlier responses and of this request."""
    owner: str = field(default_factory=lambda: current().name)
    """Name of the key that it was asked for with; nobody else gets it."""

    @property
    def id(self) -> str:
        """The id of the response."""
        return str(self.response["id"])

    @property
    def items(self) -> tuple[Item, ...]:
        """The conversation up to the answer's end."""
        return (*self.input, *self.response["output"])


class ResponseStore:
    """The responses that are kept, by id. Used from the event loop."""

    def __init__(self, *, limit: int, limit_bytes: int = MOST_STORED_BYTES) -> None:
        """`limit`: so many responses; 0: none is kept."""
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._kept: dict[str, tuple[StoredResponse, int]] = {}
        """With their sizes, the oldest first."""
        self._bytes = 0

    @property
    def is_on(self) -> bool:
        """Responses are kept."""
        return self._limit > 0

    def put(self, stored: StoredResponse) -> None:
        """Keep a response; the oldest ones make room."""
        size_bytes = len(encode_json([stored.response, stored.input]))
        self._kept[stored.id] = (stored, size_bytes)
        self._bytes += size_bytes
        while len(self._kept) > self._limit or self._bytes > self._limit_bytes:
            self._drop(next(iter(self._kept)))

    def get(self, response_id: str) -> StoredResponse:
        """A response that is kept. Raises: ResponseNotStored."""
        stored, _ = self._kept.get(response_id, (None, 0))
        if stored is None or stored.owner != current().name:
            raise _not_found(response_id)
        return stored

    def remove(self, response_id: str) -> None:
        """Keep a response no longer. Raises: ResponseNotStored."""
        self._drop(self.get(response_id).id)

    def _drop(self, response_id: str) -> None:
        self._bytes -= self._kept.pop(response_id)[1]


def _not_found(response_id: str) -> ResponseNotStored:
    return ResponseNotStored(
        f"response {response_id[:80]!r} is not stored",
        hint="OLM_STORED_RESPONSES says how many are kept while the daemon runs",
    )
