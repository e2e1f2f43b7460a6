"""Programs on a real pseudo-terminal, their screen read through a terminal emulator.

    with on_terminal([olm, "run", "m"], environ) as terminal:
        terminal.wait_for(">>> ")
        terminal.send("hello\\r")

The emulator answers what programs ask of a terminal (cursor position, device attributes).
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pexpect
import pyte


class Screen(pyte.HistoryScreen):
    """A screen that sends its answers back, and ignores sequences that pyte does not know."""

    def __init__(self, columns: int, rows: int, answer: Callable[[str], None]) -> None:
        super().__init__(columns, rows, history=2000, ratio=0.5)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data)

    def report_device_status(self, mode: int, **options: Any) -> None:
        # pyte takes no `private` here, which some programs ask with.
        if not options:
            super().report_device_status(mode)


class OnTerminal:
    """One running program; see the module."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], columns: int, rows: int
    ) -> None:
        self.process = pexpect.spawn(
            command[0],
            list(command[1:]),
            env={**os.environ, "TERM": "xterm-256color", **environ},
            dimensions=(rows, columns),
            timeout=30,
        )
        self.process.delaybeforesend = None
        self.raw = b""
        """Every byte that the program wrote to the terminal."""
        self._screen = Screen(columns, rows, self.send)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        """What was scrolled away and what is on the screen, without blanks at the ends."""
        width = self._screen.columns
        gone = [
            "".join(line[column].data for column in range(width)).rstrip()
            for line in self._screen.history.top
        ]
        shown = [line.rstrip() for line in self._screen.display]
        while shown and not shown[-1]:
            shown.pop()
        return gone + shown

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def send(self, text: str) -> None:
        """Types the text; Enter is `\\r`."""
        self.process.send(text)

    def read(self, timeout_s: float = 0.05) -> bool:
        """Takes in what the program has written; False when it has ended."""
        try:
            data = self.process.read_nonblocking(65536, timeout_s)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        self._stream.feed(data)
        return True

    def wait_for(self, what: str | Callable[[str], bool], timeout_s: float = 30) -> None:
        """Returns when the screen shows the text, or the condition on its text is true."""
        holds = (lambda text: what in text) if isinstance(what, str) else what
        deadline_s = time.monotonic() + timeout_s
        while not holds(self.text):
            is_alive = self.read()
            if holds(self.text):
                return
            assert is_alive, f"the program ended without {what!r}:\n{self.text}"
            assert time.monotonic() < deadline_s, f"no {what!r} in {timeout_s} s:\n{self.text}"

    def wait_for_end(self, timeout_s: float = 30) -> int:
        """The exit status of the program, negative for a signal."""
        deadline_s = time.monotonic() + timeout_s
        while self.read():
            assert time.monotonic() < deadline_s, f"it goes on after {timeout_s} s:\n{self.text}"
        self.process.wait()
        signal = self.process.signalstatus
        status = self.process.exitstatus
        return -signal if signal is not None else int(status)


@contextmanager
def on_terminal(
    command: Sequence[str],
    environ: Mapping[str, str] | None = None,
    *,
    columns: int = 80,
    rows: int = 24,
) -> Iterator[OnTerminal]:
    """The program on a terminal of that size; it is ended with the block."""
    terminal = OnTerminal(command, environ or {}, columns, rows)
    try:
        yield terminal
    finally:
        terminal.process.close(force=True)
