"""A measure for the table of attacks; it judges nothing."""

import time


class Stopwatch:
    """Runs from the moment in which it is made."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    def text(self) -> str:
        """The time since then, in seconds."""
        return f"{time.monotonic() - self._began_s:.2f} s"
