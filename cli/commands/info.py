"""`olm info`: versions, engine, machine, places, settings."""

from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.records.machinefacts import show_facts
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import here
from olmkit.engine.settings import Settings


def info(format: FormatFlag = "", json: JsonFlag = False) -> None:
    """Show what olm knows of itself, its engine and this machine.

    Starts no daemon and needs no engine that works. Secrets are left out, so that the output can
    go into a bug report.
    """
    show_facts(Settings.load(directory=here()), data_form(format=format, json=json), Terminal())
