"""Local files given to the daemon: by hard link where it runs here, else uploaded.

A daemon of the same user on the same machine takes a link that the client put into its
`incoming` directory, and hashes it there once; nothing is copied. Everywhere else the client
hashes the file and sends it, unless the daemon has it already.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from olmkit.cli.errors import CliError, NotFound
from olmkit.cli.screen.progress import ProgressDisplay
from olmkit.engine.client import Client
from olmkit.engine.client.http1 import ConnectionBroken
from olmkit.engine.client.replies import Progress
from olmkit.engine.errors import ApiError

PIECE_BYTES = 1024 * 1024


def hand_over(client: Client, path: Path, display: ProgressDisplay) -> str:
    """Gives the file to the daemon; returns its digest, `sha256:…`.

    Raises:
        NotFound: there is no such file.
        CliError: it cannot be read.
        DaemonError: the daemon does not take it.
    """
    # A link to a symbolic link would be one more symbolic link.
    path = path.resolve()
    if not path.is_file():
        raise NotFound(f"no such file: {path}")
    incoming = client.status().incoming if client.address.is_local else ""
    if incoming and _is_ours(incoming):
        link = Path(incoming) / secrets.token_hex(16)
        if _link(path, link):
            return _import(client, link, path.name, display)
    return _upload(client, path, display)


def _is_ours(directory: str) -> bool:
    """Whether the directory belongs to this user; it was named by whoever answers at the port."""
    try:
        return os.stat(directory).st_uid == os.getuid()
    except OSError:
        return False


def _link(path: Path, link: Path) -> bool:
    """Whether `link` now shares the file's blocks, or is another name of the file.

    Shared blocks first: a later change of the file does not reach the store through them.
    """
    from olmkit.registry.reflink import reflink

    with contextlib.suppress(OSError), open(path, "rb") as source:
        if reflink(source.fileno(), link, mode=0o600):
            return True
    try:
        os.link(path, link)
    except OSError:
        return False
    return True


def _import(client: Client, link: Path, name: str, display: ProgressDisplay) -> str:
    digest = ""
    try:
        for event, digest in client.import_file(link.name, name):  # noqa: B007  the last one counts
            if event.total_bytes:
                display.show(
                    Progress(
                        status=f"hashing {name}",
                        digest=link.name,
                        total_bytes=event.total_bytes,
                        completed_bytes=event.completed_bytes,
                    )
                )
    finally:
        # The daemon took it away, unless it never got to it.
        with contextlib.suppress(OSError):
            link.unlink()
    if not digest:
        raise CliError(f"the daemon did not say what it made of {name}")
    return digest


def _upload(client: Client, path: Path, display: ProgressDisplay) -> str:
    size_bytes = path.stat().st_size

    def telling(status: str) -> Callable[[int], None]:
        def tell(done_bytes: int) -> None:
            display.show(
                Progress(
                    status=f"{status} {path.name}",
                    digest=str(path),
                    total_bytes=size_bytes,
                    completed_bytes=done_bytes,
                )
            )

        return tell

    hasher = hashlib.sha256()
    for piece in _pieces(path, telling("hashing")):
        hasher.update(piece)
    digest = f"sha256:{hasher.hexdigest()}"
    _send(client, path, digest, size_bytes, telling("uploading"))
    return digest


def _send(
    client: Client, path: Path, digest: str, size_bytes: int, on_bytes: Callable[[int], None]
) -> None:
    """Uploads what the daemon lacks; goes on where the connection broke, while that gets further.

    The bytes that the daemon holds already may be wrong ones, of somebody else: then the upload
    begins once more.
    """
    failed_at, may_restart = -1, True
    while (offset := client.missing_from(digest)) is not None:
        offset = offset if offset < size_bytes else 0
        try:
            pieces = _pieces(path, on_bytes, offset)
            client.upload_blob(digest, pieces, size_bytes, offset_bytes=offset)
        except ConnectionBroken:
            if offset <= failed_at:
                raise
            failed_at = offset
        except ApiError as error:
            if not (offset and may_restart and error.code == "digest_mismatch"):
                raise
            may_restart = False
        else:
            return


def _pieces(path: Path, on_bytes: Callable[[int], None], start_bytes: int = 0) -> Iterator[bytes]:
    done_bytes = start_bytes
    try:
        with open(path, "rb") as file:
            file.seek(start_bytes)
            while piece := file.read(PIECE_BYTES):
                yield piece
                done_bytes += len(piece)
                on_bytes(done_bytes)
    except OSError as error:
        raise CliError(f"cannot read {path}: {(error.strerror or '').lower()}") from error
