"""Small files in the store that say what is known of its models: whole or not there."""

from pathlib import Path

from olmkit.registry.errors import store_errors
from olmkit.registry.replacing import replace
from olmkit.registry.store.locks import FOLDER_MODE, claimed_folder


def write_record(path: Path, data: bytes, *, staging: Path) -> None:
    """Makes `data` the file at `path`, at once.

    It is not synced: what a power failure takes is only not known then.

    Raises:
        DiskFull, StoreError: it cannot be written; what was there still is.
    """
    with store_errors(path, "write"), claimed_folder(staging) as folder:
        staged = folder / "record"
        staged.write_bytes(data)
        path.parent.mkdir(exist_ok=True, mode=FOLDER_MODE)
        replace(staged, path)
