"""`olm push`: sends a model to the registry that its name says."""

from typing import Annotated

from typer import Argument, Option

from olmkit.cli.flags import Insecure, QuietName
from olmkit.cli.records.arrived import show_arrived
from olmkit.cli.records.dataform import DataForm
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
    format: Annotated[
        str,
        Option(
            "--format",
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
    json: Annotated[
        bool, Option("--json", help="Print name, digest and size at the end, as JSON.")
    ] = False,
) -> None:
    """Send a model to a registry.

    The name says to which one: `olm cp` gives a model another name. What the registry has already
    is not sent again; after an interruption the next push goes on from there.

    With --all-quants, `olm pull` of the name takes the quantization that fits best.
    """
    terminal = Terminal()
    client = daemon(terminal)
    with progress_display(terminal, quiet=quiet, style=progress) as display:
        events = client.push(
            model,
            insecure=insecure,
            format=format,
            all_quantizations=all_quants,
            compress=compress,
        )
        for event in events:
            display.show(event)
    if json:
        show_arrived(client, [model], DataForm(is_json=True), terminal)
    elif quiet:
        terminal.data(f"{model}\n")
