"""`olm lock`: names of models with their digests, for a project."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from olmkit.cli.errors import UsageError
from olmkit.cli.flags import Insecure
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.cli.trust.keyflags import Keys, public_keys
from olmkit.cli.typedpaths import typed_status
from olmkit.engine.client import Client
from olmkit.engine.client.storereplies import digest_at_registry, inspect
from olmkit.registry import lockfile
from olmkit.registry.oci.reference import Reference, is_address

if TYPE_CHECKING:
    from olmkit.registry.signatures.publickeys import PublicKey


def lock(
    models: Annotated[
        list[str] | None,
        Argument(metavar="[MODEL]...", help="Names; without any, those that the file has."),
    ] = None,
    file: Annotated[str, Option("--file", help="The lock file.")] = lockfile.FILE_NAME,
    keys: Keys = None,
    insecure: Insecure = False,
) -> None:
    """Record the digests of models in `olm.lock`, so that `olm pull --locked` gets the same.

    Names that are there stay, with the digests that the store has for them now. With --key the
    file also says who signed, and `olm pull --locked` asks for that signature. A model that the
    file has a signer of stays bound to that key.
    """
    terminal = Terminal()
    path = Path(file)
    locked = lockfile.read(path) if typed_status(path) is not None else {}
    names = models or sorted(locked)
    if not names:
        raise UsageError(f"no model is named, and there are none in {file}")
    given = public_keys(keys)
    client = daemon(terminal)
    for name in names:
        locked[name] = _locked(client, name, _keys(given, locked.get(name)), insecure=insecure)
    lockfile.write(path, locked)
    terminal.message(f"locked {len(names)} of {len(locked)} models in {file}\n")


def _keys(given: "list[PublicKey]", before: lockfile.Locked | None) -> "list[PublicKey]":
    """The keys of which one must have signed: those given, else that of before."""
    if given or before is None or before.signer_key is None:
        return given
    from olmkit.registry.signatures.publickeys import parse_base64

    return [parse_base64(before.signer_key)]


def _locked(
    client: Client, name: str, keys: "list[PublicKey]", *, insecure: bool
) -> lockfile.Locked:
    found = inspect(client, name)
    reference = Reference.parse(name)
    locked = lockfile.Locked(
        digest=digest_at_registry(found, reference), source=_source(found.get("source"))
    )
    if not keys:
        return locked
    from olmkit.cli.trust.checking import require_vouched
    from olmkit.registry.signatures.policy import signed_by

    rule = signed_by(keys, ["*"])
    pinned = dataclasses.replace(reference, digest=locked.digest).short
    signer = require_vouched(client, pinned, lambda _: rule, insecure=insecure).signer
    assert signer is not None
    return dataclasses.replace(locked, signer_key=signer.base64)


def _source(source: object) -> str | None:
    """The source of a model; an address gets the digest of its file."""
    if not isinstance(source, dict):
        return None
    reference = str(source["reference"])
    if not is_address(reference):
        return reference
    return "".join([reference, *(f"#{file['digest']}" for file in source["files"][:1])])
