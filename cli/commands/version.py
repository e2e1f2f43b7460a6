"""`olm version`: which olm this is, and which one serves."""

from olmkit import __version__
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.engine.errors import DaemonError


def version(format: FormatFlag = "", json: JsonFlag = False) -> None:
    """Show the versions of olm and its daemon."""
    form = data_form(format=format, json=json)
    terminal = Terminal()
    client = daemon(terminal, start=False)
    try:
        served: str | None = client.version()
    except DaemonError:
        served = None
    address = client.address.connect_url
    show_value(
        {"client": __version__, "daemon": served},
        form,
        terminal,
        lambda: terminal.data(
            f"client: {__version__}\ndaemon: {served or 'not running'} ({address})\n"
        ),
        fields={  # Docker's words for the same
            "Client": {"Version": __version__},
            "Server": {"Version": served or ""},
        },
    )
