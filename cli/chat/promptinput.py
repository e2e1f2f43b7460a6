"""The prompt of one answer: standard input, then the words of the command line."""

from typing import Final

from olmkit.cli.errors import CliError
from olmkit.cli.screen.terminal import Terminal

MAX_INPUT_BYTES: Final = 64 * 1024 * 1024


def join_prompt(terminal: Terminal, words: list[str]) -> str:
    """Standard input, when it is no terminal, then the words; joined by blanks.

    Raises:
        CliError: the input is too long or cannot be read.
    """
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
            parts.insert(0, raw.decode("utf-8", "replace").removeprefix("\ufeff"))
    return " ".join(parts)
