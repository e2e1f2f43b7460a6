"""`olm sign`: signs a model at its registry, or makes a key to sign with."""

import base64
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from typer import Argument, Option

from olmkit.cli.errors import CliError, UsageError
from olmkit.cli.flags import Insecure
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import Record, data_form
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.cli.trust.keyflags import require_file
from olmkit.cli.trust.passwords import known_password, new_password
from olmkit.cli.typedpaths import write_errors
from olmkit.engine.client import Client
from olmkit.engine.client.storereplies import digest_at_registry, inspect
from olmkit.engine.client.storereplies import sign as store_signature
from olmkit.engine.errors import ApiError
from olmkit.registry.errors import NotTrusted
from olmkit.registry.oci.reference import Reference

if TYPE_CHECKING:
    from olmkit.registry.signatures.publickeys import PublicKey

KEY_FILE: Final = "cosign.key"


def sign(
    model: Annotated[
        str,
        Argument(
            metavar="[MODEL]",
            help="A name that was pushed, such as ghcr.io/team/m:1, or one with its digest; none "
            "with --generate-key.",
        ),
    ] = "",
    key: Annotated[str, Option("--key", metavar="FILE", help="The private key.")] = KEY_FILE,
    generate_key: Annotated[
        bool,
        Option(
            "--generate-key", help="Make a key in that file, and its public half in one of .pub."
        ),
    ] = False,
    insecure: Insecure = False,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Sign a model as `cosign sign --key` does, without a transparency log.

    The signature is stored at the registry beside the model, and kept here. It is over the digest
    that the registry has: push first. The key's password comes from COSIGN_PASSWORD, or is asked.
    """
    form = data_form(format=format, json=json)
    terminal = Terminal()
    if generate_key == bool(model):
        raise UsageError(
            "'olm sign' requires 1 argument, or --generate-key",
            hint="usage: olm sign --key FILE MODEL",
        )
    if generate_key:
        public, file = _generated(Path(key), terminal)
        made: Record = {"key": str(file), "signer": public.fingerprint}
        show_value(made, form, terminal, lambda: terminal.data(f"{file}\n"))
        return
    from olmkit.registry.signatures.publickeys import read_key_file
    from olmkit.registry.signatures.signingkeys import parse_private_key
    from olmkit.registry.signatures.simplesigning import payload_of

    require_file(key)
    private = parse_private_key(read_key_file(Path(key)), key, lambda: known_password(terminal))
    client = daemon(terminal)
    pinned = _pinned(client, model)
    assert pinned.digest is not None
    is_new = not _has_signed(client, pinned, private.public, insecure=insecure)
    if is_new:
        payload = payload_of(pinned, pinned.digest)
        store_signature(
            client,
            pinned.short,
            payload=base64.b64encode(payload).decode(),
            signature=base64.b64encode(private.sign(payload)).decode(),
            insecure=insecure,
        )
    value: Record = {
        "model": pinned.short,
        "digest": str(pinned.digest),
        "signer": private.public.fingerprint,
        "new": is_new,
    }
    show_value(value, form, terminal, lambda: terminal.data(f"{pinned.short}\n"))
    if form.is_text and not is_new:
        terminal.message("it is signed by this key already\n")


def _pinned(client: Client, model: str) -> Reference:
    """The name with the digest that it has at its registry."""
    reference = Reference.parse(model)
    if reference.digest is not None:
        return reference
    try:
        found = inspect(client, model)
    except ApiError as error:
        if error.status != 404:
            raise
        raise ApiError(
            f"{reference.short} is not in the store, so what would be signed is unknown",
            status=error.status,
            code=error.code,
            hint="pull it first, or name its digest: NAME@sha256:…",
        ) from error
    return replace(reference, digest=digest_at_registry(found, reference))


def _has_signed(client: Client, pinned: Reference, key: "PublicKey", *, insecure: bool) -> bool:
    """Whether the registry has a signature by this key already.

    Raises:
        ApiError: it does not have the manifest, or cannot be asked.
    """
    from olmkit.cli.trust.checking import require_vouched
    from olmkit.registry.signatures.policy import signed_by

    rule = signed_by([key])
    try:
        require_vouched(client, pinned.short, lambda _: rule, insecure=insecure, fresh=True)
    except NotTrusted:
        return False
    return True


def _generated(file: Path, terminal: Terminal) -> "tuple[PublicKey, Path]":
    """A new pair of keys in two files; neither replaces one that is there."""
    from olmkit.registry.signatures.signingkeys import encrypted_pem, new_key

    public = file.with_suffix(".pub")
    for one in (file, public):
        if one.exists() or one.is_symlink():
            raise CliError(f"{one} is there already", hint="name another file with --key")
    if public == file:
        raise UsageError("--key names the private key, and the public one ends in .pub")
    made = new_key()
    _write(file, encrypted_pem(made, new_password(terminal)), 0o600)
    _write(public, made.public.pem, 0o644)
    terminal.message(f"{file} signs: keep it to yourself; {public} is for everybody\n")
    return made.public, file


def _write(file: Path, data: bytes, mode: int) -> None:
    with write_errors(file):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as stream:
            stream.write(data)
