"""What `olm info` and `olm system info` print."""

import os

from olmkit.cli.records.dataform import DataForm, Record
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.factsections import sheet_object, sheet_sections
from olmkit.cli.screen.sections import show_sections
from olmkit.cli.screen.terminal import Terminal
from olmkit.engine.diagnosis.factsheet import gather
from olmkit.engine.settings import Settings


def show_facts(settings: Settings, form: DataForm, terminal: Terminal) -> None:
    """Gathers what is known of this installation, and prints it."""
    sheet = gather(settings, os.environ)
    said = sheet_object(sheet)
    show_value(
        said,
        form,
        terminal,
        lambda: show_sections(terminal, sheet_sections(sheet)),
        fields=_docker_fields(said),
    )


def _docker_fields(said: Record) -> Record:
    """Docker's words for the same."""
    return {
        "ServerVersion": said["daemon"]["version"] or "",
        "ClientInfo": {"Version": said["versions"]["olm"]},
        "OperatingSystem": said["versions"]["system"],
        "Architecture": said["processor"]["machine"],
        "NCPU": said["processor"]["threads"],
        "MemTotal": said["limits"]["memory_total_bytes"],
        "DockerRootDir": said["store"]["path"],
    }
