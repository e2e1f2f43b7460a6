"""JSON that the user hands over in files, or on standard input as `-`."""

import json
from typing import Final

from olmkit.cli.errors import CliError, UsageError
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.typedpaths import read_errors

MAX_FILE_BYTES: Final = 64 * 1024 * 1024


def json_objects(value: object, file: str) -> list[dict[str, object]]:
    """The objects of an array that was read from a file. Raises: UsageError."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise UsageError(f"{shown(file)} holds no JSON array of objects")
    return value


def read_json(file: str, terminal: Terminal) -> object:
    """The value in a file. Raises: NotFound, CliError, UsageError."""
    raw = read_file(file, terminal)
    try:
        value: object = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{shown(file)} is no JSON: {error}") from error
    return value


def read_file(file: str, terminal: Terminal) -> bytes:
    """The bytes of a file of bounded size. Raises: NotFound, CliError."""
    with read_errors(file):
        if file == "-":
            raw = terminal.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with open(file, "rb") as stream:
                raw = stream.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise CliError(f"{shown(file)} is longer than {MAX_FILE_BYTES // 2**20} MiB")
    return bytes(raw)


def shown(file: str) -> str:
    """What messages call a file."""
    return "standard input" if file == "-" else file
