"""The password of a private key: from the variable that cosign reads, or asked for."""

import getpass
import os
from typing import Final

from olmkit.cli.errors import CliError, UsageError
from olmkit.cli.screen.terminal import Terminal

VARIABLE: Final = "COSIGN_PASSWORD"


def known_password(terminal: Terminal) -> bytes:
    """The password of a key that is there.

    Raises:
        CliError: nobody can be asked.
    """
    given = os.environ.get(VARIABLE)
    if given is not None:
        return given.encode()
    _require_terminal(terminal)
    return getpass.getpass("Password of the key: ", stream=terminal.stderr).encode()


def new_password(terminal: Terminal) -> bytes:
    """A password for a new key, which may be empty, as cosign's may.

    Raises:
        CliError: nobody can be asked.
        UsageError: it was typed differently the second time.
    """
    given = os.environ.get(VARIABLE)
    if given is not None:
        return given.encode()
    _require_terminal(terminal)
    first = getpass.getpass("Password for the new key: ", stream=terminal.stderr)
    if getpass.getpass("Once more: ", stream=terminal.stderr) != first:
        raise UsageError("the passwords differ")
    return first.encode()


def _require_terminal(terminal: Terminal) -> None:
    if terminal.has_input:
        raise CliError(
            "the key's password cannot be asked for without a terminal",
            hint=f"set {VARIABLE}, which may be empty",
        )
