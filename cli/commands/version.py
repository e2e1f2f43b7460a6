"""`olm version`: which olm this is, and which one serves."""

import json
from typing import Annotated

from typer import Option

from olmkit import __version__
from olmkit.cli.flags import Format
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.engine.errors import DaemonError


def version(
    format: Annotated[
        Format, Option("--format", help="Lines for people, or one JSON object.")
    ] = Format.TABLE,
) -> None:
    """Show the versions of olm and its daemon."""
    terminal = Terminal()
    client = daemon(terminal, start=False)
    try:
        served: str | None = client.version()
    except DaemonError:
        served = None
    if format is Format.JSON:
        terminal.data(json.dumps({"client": __version__, "daemon": served}) + "\n")
        return
    terminal.data(f"client: {__version__}\n")
    terminal.data(f"daemon: {served or 'not running'} ({client.address.connect_url})\n")
