"""`olm info`: versions, engine, machine, places, settings."""

import os
from typing import Annotated

from typer import Option

from olmkit.cli.screen.factsections import sheet_json, sheet_sections
from olmkit.cli.screen.sections import show_sections
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import here
from olmkit.engine.diagnosis.factsheet import gather
from olmkit.engine.settings import Settings


def info(
    json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what olm knows of itself, its engine and this machine.

    Starts no daemon and needs no engine that works. Secrets are left out, so that the output can
    go into a bug report.
    """
    terminal = Terminal()
    sheet = gather(Settings.load(directory=here()), os.environ)
    if json:
        terminal.data(sheet_json(sheet))
    else:
        show_sections(terminal, sheet_sections(sheet))
