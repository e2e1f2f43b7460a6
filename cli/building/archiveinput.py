"""Archives of models on their way to the daemon, with the progress of what is sent."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from olmkit.cli.screen.progress import ProgressDisplay, ProgressStyle, progress_display
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.typedpaths import read_errors
from olmkit.engine.client import Client
from olmkit.engine.client.replies import Progress
from olmkit.engine.client.storereplies import load as load_archive

PIECE_BYTES: Final = 1 << 20


def load_from(
    client: Client,
    path: str,
    terminal: Terminal,
    *,
    name: str = "",
    only: str = "",
    quiet: bool = False,
    progress: ProgressStyle = ProgressStyle.AUTO,
) -> list[str]:
    """Loads a file or folder, or stdin for no path; returns the names of the models.

    Raises:
        NotFound, CliError: it cannot be read.
    """
    with (
        _opened(path, terminal) as (pieces, size_bytes),
        progress_display(terminal, quiet=quiet, style=progress) as display,
    ):
        shown = _shown(pieces, size_bytes, path or "stdin", display)
        return load_archive(
            client, shown, size_bytes=size_bytes, name=name, only=only, on_event=display.show
        )


@contextmanager
def _opened(path: str, terminal: Terminal) -> Iterator[tuple[Iterator[bytes], int | None]]:
    """The archive's bytes and, where it is known, their number.

    Raises:
        NotFound, CliError: it cannot be read.
    """
    if not path:
        yield _pieces(terminal.stdin.buffer, "stdin"), None
        return
    if os.path.isdir(path):
        from olmkit.registry.archives.layout import folder_archive

        yield folder_archive(Path(path)), None
        return
    with read_errors(path), open(path, "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        size_bytes = found.st_size if stat.S_ISREG(found.st_mode) else None
        yield _pieces(file, path), size_bytes


def _pieces(file: BinaryIO, name: str) -> Iterator[bytes]:
    while True:
        with read_errors(name):
            piece = file.read(PIECE_BYTES)
        if not piece:
            return
        yield piece


def _shown(
    pieces: Iterator[bytes], size_bytes: int | None, name: str, display: ProgressDisplay
) -> Iterator[bytes]:
    done_bytes = 0
    for piece in pieces:
        yield piece
        done_bytes += len(piece)
        display.show(
            Progress(status=f"loading {name}", total_bytes=size_bytes, completed_bytes=done_bytes)
        )
    display.show(Progress(status="writing to disk"))
