"""`olm lock`: names of models with their digests, for a project."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from olmkit.cli.errors import UsageError
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.cli.typedpaths import typed_status
from olmkit.engine.client import Client
from olmkit.engine.client.storereplies import inspect
from olmkit.registry import lockfile
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference, is_address


def lock(
    models: Annotated[
        list[str] | None,
        Argument(metavar="[MODEL]...", help="Names; without any, those that the file has."),
    ] = None,
    file: Annotated[str, Option("--file", help="The lock file.")] = lockfile.FILE_NAME,
) -> None:
    """Record the digests of models in `olm.lock`, so that `olm pull --locked` gets the same.

    Names that are there stay, with the digests that the store has for them now.
    """
    terminal = Terminal()
    path = Path(file)
    locked = lockfile.read(path) if typed_status(path) is not None else {}
    names = models or sorted(locked)
    if not names:
        raise UsageError(f"no model is named, and there are none in {file}")
    client = daemon(terminal)
    for name in names:
        locked[name] = _locked(client, name)
    lockfile.write(path, locked)
    terminal.message(f"locked {len(names)} of {len(locked)} models in {file}\n")


def _locked(client: Client, name: str) -> lockfile.Locked:
    found = inspect(client, name)
    pushed = found.get("pushed")  # in another format than it is stored in
    digest = pushed.get(Reference.parse(name).short) if isinstance(pushed, dict) else None
    return lockfile.Locked(
        digest=Digest(str(digest or found["id"])), source=_source(found.get("source"))
    )


def _source(source: object) -> str | None:
    """The source of a model; an address gets the digest of its file."""
    if not isinstance(source, dict):
        return None
    reference = str(source["reference"])
    if not is_address(reference):
        return reference
    return "".join([reference, *(f"#{file['digest']}" for file in source["files"][:1])])
