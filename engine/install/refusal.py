"""What ends an installation."""


class InstallFailed(Exception):
    """The engine could not be installed; one sentence, and what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
