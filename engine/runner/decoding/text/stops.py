"""Stop strings in text that comes in pieces.

The text ends before the first stop string; the search goes over the borders of the pieces, so
text that may yet become one is held back until that is settled. Every character is looked at once
a stop string, however long those are (Knuth, Morris and Pratt, 1977).
"""

from collections.abc import Sequence


class StopScanner:
    """Lets text through up to the first stop string. Empty stop strings are ignored."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._matches = [_Match(stop) for stop in stops if stop]
        self._held = ""

    def push(self, text: str) -> tuple[str, str | None]:
        """Text that can leave now, and the stop string that ends it, if one does.

        Of several in the text the one that starts first wins, then the one listed first. After
        a match nothing is held back.
        """
        if not self._matches:
            return text, None
        before = len(self._held)
        pending, self._held = self._held + text, ""
        found = []
        for match in self._matches:
            if (end := match.find_end(text)) is not None:
                found.append((before + end - len(match.text), match.text))
        if found:
            start, stop = min(found, key=lambda one: one[0])
            for match in self._matches:
                match.reached = 0
            return pending[:start], stop
        safe = len(pending) - max(match.reached for match in self._matches)
        self._held = pending[safe:]
        return pending[:safe], None

    def flush(self) -> str:
        """Text still held back, when no more comes."""
        held, self._held = self._held, ""
        return held


class _Match:
    """How much of one stop string the text ends with."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.reached = 0
        self._shorter = _borders(text)

    def find_end(self, text: str) -> int | None:
        """Goes on with `text`; where in it the string is whole for the first time, if it is."""
        stop, shorter, reached = self.text, self._shorter, self.reached
        for position, character in enumerate(text, 1):
            while reached and stop[reached] != character:
                reached = shorter[reached - 1]
            reached += stop[reached] == character
            if reached == len(stop):
                self.reached = 0
                return position
        self.reached = reached
        return None


def _borders(text: str) -> list[int]:
    """For every beginning of the text, the longest other beginning that it ends with."""
    borders = [0] * len(text)
    length = 0
    for position in range(1, len(text)):
        while length and text[length] != text[position]:
            length = borders[length - 1]
        length += text[length] == text[position]
        borders[position] = length
    return borders
