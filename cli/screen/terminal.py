"""The terminal of a command: stdout for data, stderr for messages, and what they can show."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, TextIO

from olmkit.cli.errors import CliError

_CONTROLS = {code: "�" for code in [*range(32), 127, *range(0x80, 0xA0)] if code not in (9, 10)}
_CONTROLS[13] = ""
GREY = "\x1b[38;5;245m"
BOLD = "\x1b[1m"
RESET = "\x1b[0m"


def visible(text: str) -> str:
    """The text without control characters, which could drive the terminal that shows it.

    Models, registries and servers choose what comes here. Newlines and tabs stay.
    """
    return text if text.isascii() and text.isprintable() else text.translate(_CONTROLS)


def write_all(file: BinaryIO, data: bytes) -> None:
    """Writes every byte, or raises OSError.

    With PYTHONUNBUFFERED set stdout is the bare file, which may take a part only: where the reader
    of a pipe goes away, or a disk is full, and the next write says so.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


class Terminal:
    """stdin, stdout and stderr of one process."""

    def __init__(
        self,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.stdin = stdin or sys.stdin
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr

    @property
    def has_input(self) -> bool:
        """Whether stdin brings text by itself, from a pipe or file."""
        return self.stdin is not None and not self.stdin.isatty()

    @property
    def shows_data(self) -> bool:
        """Whether somebody looks at stdout, not a program."""
        return self.stdout is not None and self.stdout.isatty()

    @property
    def shows_messages(self) -> bool:
        """Whether stderr is a terminal that can move its cursor, and somebody looks at it.

        What sets CI keeps a log, also where it gives its jobs a terminal.
        """
        if self.stderr is None or not self.stderr.isatty() or os.environ.get("CI", "") == "true":
            return False
        return os.environ.get("TERM", "") != "dumb"

    @property
    def has_colour(self) -> bool:
        """Whether stdout may carry colours (https://no-color.org)."""
        return self.shows_data and not os.environ.get("NO_COLOR")

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the terminal, 80 and 24 where there is none."""
        for stream in (self.stderr, self.stdout):
            try:
                size = os.get_terminal_size(stream.fileno())
            except (AttributeError, OSError, ValueError):
                continue
            if size.columns and size.lines:
                return size.columns, size.lines
        return 80, 24

    @contextmanager
    def held_input(self) -> Iterator[None]:
        """Keeps what is typed during the block for the next prompt, without showing it.

        Ctrl-C works as ever.
        """
        import termios

        try:
            descriptor = self.stdin.fileno()
            before = termios.tcgetattr(descriptor)
        except (termios.error, OSError, ValueError):  # no terminal
            yield
            return
        held = termios.tcgetattr(descriptor)
        # Enter stays Enter: as a newline it would begin another line at the prompt.
        held[0] &= ~termios.ICRNL
        held[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(descriptor, termios.TCSANOW, held)
        try:
            yield
        finally:
            termios.tcsetattr(descriptor, termios.TCSANOW, before)

    def data(self, text: str) -> None:
        """Writes to stdout at once, in UTF-8; to a terminal what `visible` leaves of it.

        Raises:
            BrokenPipeError: the reader went away.
            CliError: it cannot be written, as when the disk is full.
        """
        self.paint(visible(text) if self.shows_data else text)

    def paint(self, text: str) -> None:
        """As `data`, the escape codes in it included: those that olm itself made."""
        if self.stdout is None:
            return
        try:
            self.stdout.flush()
            buffer = getattr(self.stdout, "buffer", None)
            if buffer is None:
                self.stdout.write(text)
            else:
                write_all(buffer, text.encode("utf-8", "replace"))
                buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CliError(f"cannot write the output: {reason}") from error

    def message(self, text: str) -> None:
        """Writes to stderr at once; where that fails there is nobody to tell."""
        if self.stderr is None:
            return
        if self.stderr.isatty():
            text = visible(text)
        self.draw(text)

    def draw(self, text: str) -> None:
        """Writes to stderr as it is, escape codes included."""
        try:
            self.stderr.write(text)
            self.stderr.flush()
        except (OSError, UnicodeEncodeError, ValueError):
            pass
