"""The daemon's log: one logfmt line an event on stderr, so that it reads and greps well.

    time=2026-11-21T20:37:00.123+01:00 level=INFO msg=loaded model=smollm2:latest context=4096

Facts go beside the message, as `extra={...}`. Prompts, completions, credentials and whatever
else a user typed are never logged, at any level: there is no switch for it.
"""

import json
import logging
import sys
from datetime import datetime
from typing import Final, TextIO

from olmkit.engine.settings import DEBUG, TRACE, WARNING

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PLAIN: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@+%,[]()"
)


class LogfmtFormatter(logging.Formatter):
    """Time, level, message, then the facts of `extra`, as `key=value`; one line, always."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        time = (
            datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        )
        facts = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            facts["error"] = self.formatException(record.exc_info)
        pairs = {
            "time": time,
            "level": record.levelname,
            "msg": record.getMessage().strip(),
        } | facts
        return " ".join(f"{key}={_quoted(str(value))}" for key, value in pairs.items())


def configure(level: int, *, stream: TextIO | None = None) -> None:
    """Send what olm logs at `level` and above to `stream`, stderr if none is given.

    Of other libraries only warnings, unless everything is asked for.
    """
    logging.addLevelName(TRACE, "TRACE")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LogfmtFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, WARNING) if level > TRACE else DEBUG)
    logging.getLogger("olmkit").setLevel(level)


def _quoted(text: str) -> str:
    """The text as it is when it cannot be misread, else as a JSON string."""
    return text if text and _PLAIN.issuperset(text) else json.dumps(text, ensure_ascii=False)
