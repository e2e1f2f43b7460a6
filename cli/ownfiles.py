"""Files that olm writes for other programs, and knows again by a mark in them."""

from pathlib import Path

from olmkit.cli.errors import CliError


def require_own(path: Path, mark: str) -> None:
    """Nothing, if olm wrote the file, or there is none.

    Raises:
        CliError: the file is somebody else's.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    if mark not in text:
        raise CliError(
            f"{path} was not written by olm", hint="move it away, then run the command again"
        )
