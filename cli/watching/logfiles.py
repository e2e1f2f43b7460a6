"""The daemon's log: kept files in the order of time, and what is added while one looks.

The daemon moves the full file aside (`daemon.log.1` is the latest of those) and begins a new one;
a reader that is in the old one reads it to its end first.
"""

import json
import os
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, TextIO

_POLL_S: Final = 0.2
_KEPT: Final = 9
"""Rotated files that are looked for; the daemon keeps fewer."""
_MAX_LINE: Final = 1 << 20
_PAIR: Final = re.compile(r'([\w.]+)=("(?:[^"\\]|\\.)*"|\S*)')


def parse_line(line: str) -> dict[str, str]:
    """The facts of a line of logfmt, by name; empty for a line that is none."""
    facts = {}
    for name, value in _PAIR.findall(line):
        if value.startswith('"'):
            try:
                value = str(json.loads(value))
            except ValueError:
                value = value.strip('"')
        facts[name] = value
    return facts if "time" in facts or "msg" in facts else {}


def is_about(facts: dict[str, str], model: str) -> bool:
    """Whether a line is about that model, `:latest` understood."""
    return facts.get("model", "") in (model, f"{model}:latest")


def is_from(facts: dict[str, str], since: datetime) -> bool:
    """Whether a line was written at that moment or later; a line without a time was not."""
    try:
        return datetime.fromisoformat(facts.get("time", "")) >= since
    except (ValueError, TypeError):
        return False


class LogReader:
    """The lines of a log, the oldest kept one first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._rest = ""
        """What was read of a line that is not whole yet."""

    def close(self) -> None:
        """Closes what is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def kept(self) -> Iterator[str]:
        """What is there now.

        Raises:
            OSError: the present file cannot be read.
        """
        for number in range(_KEPT, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                with open(older, encoding="utf-8", errors="replace") as file:
                    yield from (line.rstrip("\n") for line in file)
        self._file = self._open()
        yield from self._added(self._file)

    def follow(self) -> Iterator[str]:
        """What is added from then on, for ever."""
        while True:
            if self._file is None:
                self._file = self._opened()
            if self._file is not None:
                # Asked before reading: what a file got before it was moved is read in any case.
                was_moved = self._was_moved(self._file)
                yield from self._added(self._file)
                if was_moved:
                    self.close()
                    continue
            time.sleep(_POLL_S)

    def _added(self, file: TextIO) -> Iterator[str]:
        while block := file.read(1 << 16):
            *lines, self._rest = (self._rest + block).split("\n")
            if len(self._rest) > _MAX_LINE:
                lines, self._rest = [*lines, self._rest], ""
            yield from lines

    def _open(self) -> TextIO:
        return open(self._path, encoding="utf-8", errors="replace")

    def _opened(self) -> TextIO | None:
        try:
            return self._open()
        except FileNotFoundError:
            return None  # between the move of the old file and the first line of the new one

    def _was_moved(self, file: TextIO) -> bool:
        try:
            return not os.path.samestat(os.fstat(file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            return True


def last(lines: Iterable[str], count: int | None) -> Iterable[str]:
    """The last so many lines; None: all, as they come."""
    return lines if count is None else deque(lines, maxlen=count)
