"""Paths as users type them: words that may be too long, name nothing, or lie in a shut directory.

`Path.exists` and its like raise for some of these, and which ones depends on Python's version.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from olmkit.cli.errors import CliError, NotFound


def typed_status(path: Path) -> os.stat_result | None:
    """What is at the path; None: nothing, or it can be no path.

    Raises:
        CliError: its directory may not be searched.
    """
    try:
        return path.stat()
    except PermissionError as error:
        raise CliError(f"cannot read {path}: permission denied") from error
    except (OSError, ValueError):
        return None


@contextmanager
def read_errors(path: Path | str) -> Iterator[None]:
    """A block that reads the file.

    Raises:
        NotFound: it is not there.
        CliError: the system lets it not be read.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"no such file: {path}") from error
    except OSError as error:
        raise CliError(f"cannot read {path}: {_reason(error)}") from error


@contextmanager
def write_errors(path: Path | str) -> Iterator[None]:
    """A block that writes the file. Raises: CliError: the system lets it not be written."""
    try:
        yield
    except OSError as error:
        raise CliError(f"cannot write {path}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
