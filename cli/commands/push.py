"""`olm push`: sends a model to the registry that its name says."""

from typing import Annotated

from typer import Argument, Option

from olmkit.cli.flags import Insecure, QuietName
from olmkit.cli.records.arrived import ARRIVED, show_arrived
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.screen.progress import ProgressOption, ProgressStyle, progress_display
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon


def push(
    model: Annotated[
        str, Argument(metavar="MODEL", help="A name with its registry, such as `ghcr.io/me/m:1`.")
    ],
    quiet: QuietName = False,
    progress: ProgressOption = ProgressStyle.AUTO,
    insecure: Insecure = False,
    as_: Annotated[
        str,
        Option(
            "--as",
            metavar="FORMAT",
            help="modelpack (default outside of Ollama's registry), ollama or docker.",
        ),
    ] = "",
    compress: Annotated[
        bool,
        Option("--compress", help="Send weights by zstd that really shrink; modelpack only."),
    ] = False,
    all_quants: Annotated[
        bool,
        Option(
            "--all-quants",
            help="Make the name mean all quantizations that have a tag in its repository here.",
        ),
    ] = False,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Send a model to a registry.

    The name says to which one: `olm cp` gives a model another name. What the registry has already
    is not sent again; after an interruption the next push goes on from there. --json and --format
    tell at the end which name, digest and size the model has.

    With --all-quants, `olm pull` of the name takes the quantization that fits best.
    """
    form = ARRIVED.form(format=format, json=json)
    terminal = Terminal()
    client = daemon(terminal)
    with progress_display(terminal, quiet=quiet, style=progress) as display:
        events = client.push(
            model,
            insecure=insecure,
            format=as_,
            all_quantizations=all_quants,
            compress=compress,
        )
        for event in events:
            display.show(event)
    if not form.is_text:
        show_arrived(client, [model], form, terminal)
    elif quiet:
        terminal.data(f"{model}\n")
