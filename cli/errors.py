"""What the command line itself finds wrong.

CliError
├ UsageError
├ NotFound
├ SomeFailed
├ TimedOut
├ AnswerCut
├ AnswerRepeats
├ SchemaViolated
└ ExpectationFailed
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
    """Several things were asked for and not all succeeded; each failure was told already.

    `first` is the failure that the exit code is of.
    """

    def __init__(self, message: str, *, first: Exception | None = None) -> None:
        super().__init__(message)
        self.first = first


class TimedOut(CliError):
    """The time that the user gave is over."""


class AnswerCut(CliError):
    """A limit of tokens ended an answer before its model did."""


class AnswerRepeats(CliError):
    """An answer was ended because it repeated itself."""


class SchemaViolated(CliError):
    """An answer is not the JSON that it was to be."""


class ExpectationFailed(CliError):
    """An answer is not what it was expected to be."""
