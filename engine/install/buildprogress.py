"""What an installation says while it goes on: its lines, and how far a compilation is."""

import re
import sys
import time
from typing import Final, TextIO

_STEP: Final = re.compile(r"^\s*\[(\d+)/(\d+)\]")
_LINES_WITHOUT_TERMINAL: Final = 10


def say(text: str) -> None:
    """Writes a line to standard output at once."""
    sys.stdout.write(f"engine: {text}\n")
    sys.stdout.flush()


class Progress:
    """Shows ninja's steps: a line that is written over on a terminal, else every tenth."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Writes to `stream`; None: standard output."""
        self._stream = stream or sys.stdout
        self._is_terminal = self._stream.isatty()
        self._begun_s: float | None = None
        self._first_step = 0
        self._shown_tenth = 0
        self._width = 0

    def feed(self, line: str) -> None:
        """Takes one line of the build's output."""
        match = _STEP.match(line)
        if match is None:
            return
        step, steps = int(match[1]), int(match[2])
        now_s = time.monotonic()
        if self._begun_s is None or step < self._first_step:
            self._begun_s, self._first_step, self._shown_tenth = now_s, step, 0
        text = progress_text(step - self._first_step, step, steps, now_s - self._begun_s)
        if self._is_terminal:
            self._stream.write(f"\r{text.ljust(self._width)}")
            self._width = len(text)
        elif (tenth := step * _LINES_WITHOUT_TERMINAL // max(steps, 1)) > self._shown_tenth:
            self._stream.write(text + "\n")
            self._shown_tenth = tenth
        self._stream.flush()

    def close(self) -> None:
        """Ends the line."""
        if self._is_terminal and self._width:
            self._stream.write("\n")
            self._stream.flush()


def progress_text(done: int, step: int, steps: int, elapsed_s: float) -> str:
    """`compiling llama.cpp: 40 of 79, about 2 min left`, given the steps done in a time."""
    text = f"engine: compiling llama.cpp: {step} of {steps}"
    if done < 5 or steps <= step:
        return text
    left_s = elapsed_s / done * (steps - step)
    return f"{text}, about {_roughly(left_s)} left"


def _roughly(seconds: float) -> str:
    return f"{max(10, round(seconds, -1)):.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
