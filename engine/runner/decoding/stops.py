"""Stop strings in text that comes in pieces.

The text ends before the first stop string; the search goes over the borders of the pieces, so
text that may yet become one is held back until that is settled.
"""

from collections.abc import Sequence


class StopScanner:
    """Lets text through up to the first stop string. Empty stop strings are ignored."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""

    def push(self, text: str) -> tuple[str, str | None]:
        """Text that can leave now, and the stop string that ends it, if one does.

        Of several in the text the one that starts first wins, then the one listed first. After
        a match nothing is held back.
        """
        if not self._stops:
            return text, None
        pending, self._held = self._held + text, ""
        found = [(start, stop) for stop in self._stops if (start := pending.find(stop)) >= 0]
        if found:
            start, stop = min(found, key=lambda match: match[0])
            return pending[:start], stop
        safe = len(pending) - self._possible_start(pending)
        self._held = pending[safe:]
        return pending[:safe], None

    def flush(self) -> str:
        """Text still held back, when no more comes."""
        held, self._held = self._held, ""
        return held

    def _possible_start(self, text: str) -> int:
        """Length of the longest end of the text with which a stop string begins."""
        longest = max(len(stop) for stop in self._stops) - 1
        for length in range(min(longest, len(text)), 0, -1):
            end = text[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
