"""`olm pull --locked`: the models of a lock file, by their digests."""

from pathlib import Path
from typing import TYPE_CHECKING

from olmkit.cli.building.fetch import fetch
from olmkit.cli.errors import CliError
from olmkit.cli.screen.progress import ProgressStyle
from olmkit.cli.screen.terminal import Terminal
from olmkit.engine.client import Client
from olmkit.engine.client.storereplies import inspect
from olmkit.engine.errors import ApiError
from olmkit.registry import lockfile
from olmkit.registry.lockfile import Locked

if TYPE_CHECKING:
    from olmkit.registry.signatures.policy import Rule


def pull_locked(
    client: Client,
    model: str,
    terminal: Terminal,
    *,
    quiet: bool,
    progress: ProgressStyle,
    insecure: bool,
) -> list[str]:
    """Pulls what `olm.lock` in this directory says, all of it or one model; returns the names.

    Raises:
        CliError: a name got another digest; it is not changed then.
        NotTrusted, ApiError: the signer of the lock has not signed the model.
        SourceError: the model is not in the lock.
        StoreError: there is no lock that can be read.
    """
    locked = lockfile.read(Path(lockfile.FILE_NAME))
    wanted = {model: lockfile.find(locked, model)} if model else locked
    for name, entry in sorted(wanted.items()):
        rule = _rule(entry)
        if _digest(client, name) == entry.digest:
            _require_signer(client, name, rule, insecure=insecure)
            terminal.message("" if quiet else f"{name} is up to date\n")
            continue
        if not _digest(client, entry.digest):
            pinned = lockfile.pinned(name, entry)
            revision, quantization = lockfile.hub_choice(entry)
            fetch(
                client,
                pinned,
                terminal,
                quiet=quiet,
                progress=progress,
                insecure=insecure,
                quant=quantization,
                revision=revision,
                rule=rule,
            )
            _require(client, pinned, name, entry)
        else:
            _require_signer(client, entry.digest, rule, insecure=insecure)
        if _digest(client, name) != entry.digest:
            client.copy(entry.digest, name)
    return sorted(wanted)


def _rule(entry: Locked) -> "Rule | None":
    """Whose signature the lock asks for; under which name does not matter, the digest is fixed."""
    if entry.signer_key is None:
        return None
    from olmkit.registry.signatures.policy import signed_by
    from olmkit.registry.signatures.publickeys import parse_base64

    return signed_by([parse_base64(entry.signer_key)], ["*"])


def _require_signer(client: Client, name: str, rule: "Rule | None", *, insecure: bool) -> None:
    if rule is None:
        return
    from olmkit.cli.trust.checking import require_vouched

    require_vouched(client, name, lambda _: rule, insecure=insecure)


def _require(client: Client, pinned: str, name: str, entry: Locked) -> None:
    found = _digest(client, pinned)
    if found != entry.digest:
        raise CliError(
            f"{name} is locked to {entry.digest}, but its source gives {found or 'nothing'}",
            hint=f"`olm lock {name}` accepts the change",
        )


def _digest(client: Client, name: str) -> str:
    """The digest of the manifest that a name, or a digest, stands for now; empty for none."""
    try:
        return str(inspect(client, name).get("id", ""))
    except ApiError as error:
        if error.status == 404:
            return ""
        raise
