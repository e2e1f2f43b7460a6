"""Log lines of the runner: one a line on stderr, `level text`, never a prompt or an answer.

The daemon reads them from a pipe. Where it does not keep up lines are dropped: a full pipe must
not stop the decode loop.
"""

import os
import stat
import sys
import traceback

from olmkit.engine.runner.bindings import LogLevel

_EXPECTED = ("model default pooling_type is",)
"""Warnings of llama.cpp about what the runner does on purpose."""

_NAMES = {level: level.name.lower() for level in LogLevel}
_least_level = LogLevel.INFO
_last_line = ""


def start(least_level: LogLevel) -> None:
    """Sets the level, and makes writes to a pipe return at once."""
    global _least_level
    _least_level = least_level
    if stat.S_ISFIFO(os.fstat(sys.stderr.fileno()).st_mode):
        os.set_blocking(sys.stderr.fileno(), False)


def write(level: LogLevel, text: str) -> None:
    """Writes a line; the same line again right after is left out."""
    global _last_line
    line = f"{_NAMES[level]} {text}\n"
    if level < _least_level or line == _last_line:
        return
    _last_line = line
    try:
        os.write(sys.stderr.fileno(), line.encode(errors="replace"))
    except OSError:
        pass


def write_native(level: LogLevel, text: str) -> None:
    """Writes a line of llama.cpp; its INFO, a hundred lines a load, counts as DEBUG."""
    if level is LogLevel.INFO or any(part in text for part in _EXPECTED):
        level = LogLevel.DEBUG
    write(level, f"llama.cpp: {text}")


def write_exception(what: str, error: BaseException) -> None:
    """Writes where an unforeseen error came from, without its text: that may quote a prompt."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    write(LogLevel.ERROR, f"{what}: {type(error).__name__}\n{frames.rstrip()}")
