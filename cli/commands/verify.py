"""`olm verify`: hashes blobs again, and holds signatures against keys."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from olmkit.cli.errors import SomeFailed, UsageError
from olmkit.cli.flags import Insecure
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import Record, data_form
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.progress import progress_display
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.cli.trust.keyflags import Keys, SignedAs, require_file, rule_of
from olmkit.engine.client import Client
from olmkit.engine.client.replies import Progress
from olmkit.engine.client.storereplies import Checked
from olmkit.engine.client.storereplies import verify as verify_models
from olmkit.registry.errors import NotTrusted

if TYPE_CHECKING:  # cryptography, which comes with the first key
    from olmkit.registry.oci.reference import Reference
    from olmkit.registry.signatures.policy import Rule


def verify(
    models: Annotated[
        list[str] | None,
        Argument(metavar="[MODEL]...", help="Names or IDs; without any, the whole store."),
    ] = None,
    keys: Keys = None,
    signed_as: SignedAs = None,
    policy: Annotated[
        str,
        Option("--policy", metavar="FILE", help="A policy that the models must be good for."),
    ] = "",
    insecure: Insecure = False,
    quiet: Annotated[bool, Option("-q", "--quiet", help="Show no progress.")] = False,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Hash the blobs of models again, and name those that are corrupt or missing.

    With --key or --policy signatures are checked too: the kept ones, then those at the registry.
    A model that is not stored is looked for there, and has no blobs to hash.
    """
    form = data_form(format=format, json=json)
    terminal = Terminal()
    client = daemon(terminal)
    signed = None
    if rule_for := _rules(keys, signed_as, policy):
        signed = _signed(client, models, rule_for, terminal, insecure=insecure)
        stored = [str(one["model"]) for one in signed if one["stored"]]
        models = stored if models else None
    refused = [one for one in signed or () if one["reason"]]
    faults: list[Checked] = []
    count = 0
    lines = verify_models(client, models or []) if models is None or models else ()
    with progress_display(terminal, quiet=quiet) as display:
        for line in lines:
            if line.reason:
                faults.append(line)
            elif line.status == "success":
                count = line.total
            else:
                display.show(
                    Progress(
                        status=line.status,
                        digest=line.digest,
                        total_bytes=line.total,
                        completed_bytes=line.completed,
                    )
                )
    value = {
        "ok": not faults and not refused,
        "blobs": count,
        "faults": [
            {
                "state": fault.status,
                "digest": fault.digest,
                "models": fault.models,
                "reason": fault.reason,
            }
            for fault in faults
        ],
        "signatures": signed,
    }
    show_value(value, form, terminal, lambda: _tell(faults, count, signed or (), terminal))
    if faults:
        raise SomeFailed(f"{len(faults)} of {count} blobs failed")
    if refused:
        first = NotTrusted(str(refused[0]["reason"]))
        raise SomeFailed(
            f"{len(refused)} of {len(signed or ())} models are not trusted", first=first
        )


def _rules(
    keys: Sequence[str] | None, signed_as: Sequence[str] | None, policy: str
) -> "Callable[[Reference], Rule] | None":
    """What is asked of each model; None: nothing."""
    if policy and keys:
        raise UsageError("--policy names the keys itself: leave --key out")
    if policy:
        from olmkit.registry.signatures.policy import read_policy

        require_file(policy)
        return read_policy(Path(policy).absolute()).rule_for
    rule = rule_of(keys, signed_as)
    return None if rule is None else lambda _: rule


def _signed(
    client: Client,
    models: Sequence[str] | None,
    rule_for: "Callable[[Reference], Rule]",
    terminal: Terminal,
    *,
    insecure: bool,
) -> list[Record]:
    """Of each model, or of all that are stored, who signed it, or why it is not trusted."""
    from olmkit.cli.trust.checking import require_vouched

    rows: list[Record] = []
    for name in models or [model.name for model in client.models()]:
        row: Record = {"model": name, "digest": None, "stored": True, "signer": None, "reason": ""}
        try:
            found = require_vouched(client, name, rule_for, insecure=insecure)
        except NotTrusted as error:
            row["reason"] = str(error)
            hint = f"hint: {error.hint}\n" if error.hint else ""
            terminal.message(f"Error: {error}\n{hint}")
        else:
            row |= {"model": found.model, "digest": found.digest, "stored": found.is_stored}
            row["signer"] = found.signer.fingerprint if found.signer else None
        rows.append(row)
    return rows


def _tell(faults: list[Checked], count: int, signed: Sequence[Record], terminal: Terminal) -> None:
    for one in signed:
        if one["signer"]:
            terminal.data(f"{one['model']} {one['digest']} is signed by {one['signer']}\n")
        elif not one["reason"]:
            terminal.data(f"{one['model']} {one['digest']} needs no signature\n")
    for fault in faults:
        users = f" (of {', '.join(fault.models)})" if fault.models else ""
        terminal.data(f"{fault.status}: {fault.digest}{users}\n")
        terminal.message(f"Error: {fault.reason}\n")
    if not faults and (count or not signed):
        terminal.data(f"{count} {'blob is' if count == 1 else 'blobs are'} intact\n")
