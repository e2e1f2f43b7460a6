"""What the command line itself finds wrong.

CliError
├ UsageError
├ NotFound
└ SomeFailed
"""


class CliError(Exception):
    """An error that the command line itself finds."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(CliError):
    """The command was given words that it does not take."""


class NotFound(CliError):
    """A file that the command was told to read is not there."""


class SomeFailed(CliError):
    """Several things were asked for and not all succeeded; each failure was told already."""
