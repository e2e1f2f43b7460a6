"""The daemon's log: one logfmt line an event on stderr, so that it reads and greps well.

    time=2026-11-21T20:37:00.123+01:00 level=INFO msg=loaded model=smollm2:latest context=4096

Facts go beside the message, as `extra={...}`. Prompts, completions, credentials and whatever
else a user typed are never logged, at any level: there is no switch for it.
"""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, TextIO

from olmkit.engine.configuration.settingreader import DEBUG, TRACE, WARNING
from olmkit.engine.telemetry.requestrecord import current_record

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PLAIN: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@+%,[]()"
)


MAX_LOG_BYTES: Final = 10 << 20
KEPT_LOGS: Final = 3
"""Full ones: daemon.log.1 is the latest."""
WINDOW_S: Final = 60.0
MOST_ALIKE: Final = 10
"""Lines of the same message in a window; what goes on being said says nothing new."""
MOST_OF_ONE: Final = 600
"""Lines of one part of olm in a window, a runner's own output included."""
SAID_ONCE: Final = frozenset(
    {"olmkit.engine.api.connections", "olmkit.engine.addresses.tlsdoor", "uvicorn.error"}
)
"""Parts whose lines strangers cause: of each message one line in a window."""
MAX_MESSAGES: Final = 1000


class RateFilter(logging.Filter):
    """Lets a bounded number of lines through, whoever causes them.

    The first line after a window in which some were held back says how many, as `suppressed`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._began_s = clock()
        self._counts: dict[tuple[str, str], int] = {}
        self._suppressed = 0
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be written."""
        with self._lock:
            now_s = self._clock()
            if now_s - self._began_s >= WINDOW_S:
                self._began_s, self._counts = now_s, {}
                if self._suppressed:
                    record.suppressed = self._suppressed
                    self._suppressed = 0
            most_alike = 1 if record.name in SAID_ONCE else MOST_ALIKE
            is_in = self._count(record.name, "", MOST_OF_ONE) and self._count(
                record.name, f"{record.levelname} {record.msg}"[:200], most_alike
            )
            self._suppressed += not is_in
            return is_in

    def _count(self, name: str, message: str, most: int) -> bool:
        if len(self._counts) >= MAX_MESSAGES and (name, message) not in self._counts:
            return True  # bounded by the lines of its part
        count = self._counts[name, message] = self._counts.get((name, message), 0) + 1
        return count <= most


class LogfmtFormatter(logging.Formatter):
    """Time, level, message, then the facts of `extra`, as `key=value`; one line, always."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        time = (
            datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        )
        facts = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if (request := current_record()) is not None:
            facts["request"] = request.id
        if record.exc_info:
            facts["error"] = self.formatException(record.exc_info)
        pairs = {
            "time": time,
            "level": record.levelname,
            "msg": record.getMessage().strip(),
        } | facts
        return " ".join(f"{key}={_quoted(str(value))}" for key, value in pairs.items())


class RotatingStderr(logging.StreamHandler[TextIO]):
    """stderr, moved aside and begun anew where it is a file that grew too long.

    Whatever the process writes there counts, tracebacks of its libraries included.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_LOG_BYTES) -> None:
        super().__init__(sys.stderr)
        self._path = path
        self._max_bytes = max_bytes

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, to a new file where the old one is full."""
        try:
            self._rotate()
        except OSError:
            self.handleError(record)
        super().emit(record)

    def _rotate(self) -> None:
        used = os.fstat(2)
        if used.st_size < self._max_bytes or not os.path.samestat(used, os.stat(self._path)):
            return
        for number in range(KEPT_LOGS, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = older.with_suffix(f".{number - 1}") if number > 1 else self._path
            if newer.exists():
                newer.replace(older)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        fresh = os.open(self._path, flags, 0o600)
        try:
            for descriptor in (1, 2):
                os.dup2(fresh, descriptor)
        finally:
            os.close(fresh)


def configure(level: int, *, stream: TextIO | None = None, rotated: Path | None = None) -> None:
    """Send what olm logs at `level` and above to `stream`, stderr if none is given.

    Where stderr is the file `rotated`, it is kept short: see `RotatingStderr`.

    Of other libraries only warnings, unless everything is asked for.
    """
    logging.addLevelName(TRACE, "TRACE")
    handler = (
        RotatingStderr(rotated)
        if stream is None and rotated is not None
        else logging.StreamHandler(stream or sys.stderr)
    )
    handler.setFormatter(LogfmtFormatter())
    if level > DEBUG:
        handler.addFilter(RateFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, WARNING) if level > TRACE else DEBUG)
    logging.getLogger("olmkit").setLevel(level)


def _quoted(text: str) -> str:
    """The text as it is when it cannot be misread, else as a JSON string."""
    return text if text and _PLAIN.issuperset(text) else json.dumps(text, ensure_ascii=False)
