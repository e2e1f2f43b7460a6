"""`olm save`: models into an archive."""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, BinaryIO

from typer import Argument, Option

from olmkit.cli.errors import CliError, UsageError
from olmkit.cli.screen.progress import (
    ProgressDisplay,
    ProgressOption,
    ProgressStyle,
    progress_display,
)
from olmkit.cli.screen.terminal import Terminal, write_all
from olmkit.cli.settings import daemon
from olmkit.cli.typedpaths import write_errors
from olmkit.engine.client.replies import Progress
from olmkit.engine.client.storereplies import Archive
from olmkit.engine.client.storereplies import save as save_archive
from olmkit.engine.errors import DaemonError
from olmkit.registry.replacing import replace_mounted


def save(
    models: Annotated[list[str], Argument(metavar="MODEL...", help="Names or IDs of models.")],
    output: Annotated[
        str,
        Option("-o", "--output", help="File to write, compressed if it ends in `.zst` or `.gz`."),
    ] = "",
    quiet: Annotated[bool, Option("-q", "--quiet", help="Show no progress.")] = False,
    progress: ProgressOption = ProgressStyle.AUTO,
) -> None:
    """Write models to an archive, or to stdout.

    The archive is an OCI image layout in a tar file, which `olm load` and other tools take. It
    brings along the signatures that the store keeps of the models.
    """
    terminal = Terminal()
    if not output and terminal.shows_data:
        raise UsageError("refusing to write an archive to a terminal: use -o or redirect it")
    client = daemon(terminal)
    with progress_display(terminal, quiet=quiet, style=progress) as display:
        archive = save_archive(client, models)
        pieces = _shown(archive, output or "stdout", display)
        if output:
            with _written(Path(output)) as file:
                _write(file, _packed(pieces, output))
                display.show(Progress(status="writing to disk"))
        else:
            _write(terminal.stdout.buffer, pieces)


def _shown(archive: Archive, name: str, display: ProgressDisplay) -> Iterator[bytes]:
    done_bytes = 0
    for piece in _told_of_damage(archive.pieces):
        yield piece
        done_bytes += len(piece)
        display.show(
            Progress(
                status=f"saving to {name}",
                total_bytes=archive.size_bytes,
                completed_bytes=done_bytes,
            )
        )


def _told_of_damage(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces. The daemon ends an archive early when a blob is not what its digest says."""
    try:
        yield from pieces
    except DaemonError as error:
        raise CliError(
            f"the archive is not complete: {error}", hint="`olm verify` tells if a model is damaged"
        ) from error


def _packed(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The archive, compressed as the file's name says."""
    if name.endswith((".zst", ".tzst")):
        import zstandard

        zstd = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
        yield from map(zstd.compress, pieces)
        yield zstd.flush()
    elif name.endswith((".gz", ".tgz")):
        import zlib

        gzip = zlib.compressobj(level=6, wbits=31)
        yield from map(gzip.compress, pieces)
        yield gzip.flush()
    else:
        yield from pieces


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the path's place when the block ends well; only its owner reads it.

    Raises:
        CliError: it cannot be written.
    """
    if os.path.isdir(path):
        raise CliError(f"cannot write {path}: it is a directory")
    if os.path.exists(path) and not os.path.isfile(path):  # such as /dev/null or a named pipe
        with write_errors(path), open(path, "wb") as file:
            yield file
        return
    staged = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with write_errors(path), _unfinished(staged) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            _name(file, staged)
            replace_mounted(staged, path)
    finally:
        staged.unlink(missing_ok=True)


def _unfinished(staged: Path) -> BinaryIO:
    """A new file; without a name as yet where the system can, so that no kill leaves it behind."""
    if sys.platform == "linux" and os.path.exists("/proc/self/fd"):
        with suppress(OSError):  # not every file system has nameless files
            flags = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC
            return open(os.open(staged.parent, flags, 0o600), "wb")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return open(os.open(staged, flags, 0o600), "wb")


def _name(file: BinaryIO, staged: Path) -> None:
    """Give the file the name, if it has none."""
    if os.fstat(file.fileno()).st_nlink:
        return
    folder = os.open(staged.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # With a folder given, Python follows the link, as open(2) says of O_TMPFILE.
        os.link(f"/proc/self/fd/{file.fileno()}", staged.name, dst_dir_fd=folder)
    finally:
        os.close(folder)


def _write(file: BinaryIO, pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        write_all(file, piece)
    file.flush()
