"""The prompt of one answer: standard input, then the words of the command line."""

from collections.abc import Iterable
from typing import Final

from olmkit.cli.errors import CliError, UsageError
from olmkit.cli.screen.terminal import Terminal

MAX_INPUT_BYTES: Final = 64 * 1024 * 1024


def join_prompt(terminal: Terminal, words: list[str]) -> str:
    """Standard input, when it is no terminal, then the words; joined by blanks.

    Raises:
        CliError: the input is too long or cannot be read.
        UsageError: it is no text, or a word is none.
    """
    require_text(words)
    parts = list(words)
    if terminal.has_input:
        try:
            raw = terminal.stdin.buffer.read(MAX_INPUT_BYTES + 1)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CliError(f"cannot read standard input: {reason}") from error
        if len(raw) > MAX_INPUT_BYTES:
            raise CliError(f"standard input is longer than {MAX_INPUT_BYTES // 2**20} MiB")
        if raw:
            parts.insert(0, _decoded(raw))
    return " ".join(parts)


def require_text(words: Iterable[str]) -> None:
    """Nothing, if words of the command line came in UTF-8. Raises: UsageError."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:  # Python has put a surrogate in the byte's place
            raise UsageError(
                f"a word is no UTF-8 text: it has the byte {ord(word[error.start]) & 0xFF:#04x}",
                hint="`iconv -t UTF-8` converts text",
            ) from error


def _decoded(raw: bytes) -> str:
    """Raises: UsageError: it is no text in UTF-8. A model would be asked about other characters
    than the user's."""
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"standard input is no UTF-8 text: byte {error.start} is {raw[error.start]:#04x}",
            hint="`iconv -t UTF-8` converts text; --image takes images",
        ) from error
    if "\0" in text:
        raise UsageError(
            f"standard input is binary: byte {raw.index(0)} is zero",
            hint="`iconv -f UTF-16 -t UTF-8` converts text of Windows; --image takes images",
        )
    return text
