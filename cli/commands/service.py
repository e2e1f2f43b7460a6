"""`olm service install` and `olm service uninstall`: the daemon from login on."""

import enum
import sys
from typing import Annotated

from typer import Argument, Option

from olmkit.cli.deploying.serviceinstall import service_of
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import load_settings
from olmkit.engine.client.launch import find_daemon, stop_daemon

STOP_TIMEOUT_S = 30.0


class Verb(enum.StrEnum):
    """What to do."""

    INSTALL = "install"
    UNINSTALL = "uninstall"


def service(
    verb: Annotated[
        Verb,
        Argument(
            metavar="install|uninstall",
            help="install: start the daemon now and at each login. uninstall: undo that.",
        ),
    ],
    on_demand: Annotated[
        bool,
        Option("--on-demand", help="Let systemd hold the address, and start olm when it is used."),
    ] = False,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Only print the files and commands.")
    ] = False,
) -> None:
    """Make the daemon a service of this user, or take it out again.

    On Linux it is a user unit of systemd (~/.config/systemd/user/olm.service), on macOS a launch
    agent. The service gets the OLM_ variables that are set now, but for secrets. A daemon that
    runs in the background ends first, for the service takes its address.
    """
    terminal = Terminal()
    settings = load_settings(terminal)
    everything = service_of(settings, on_demand=sys.platform != "darwin")
    wanted = everything if verb is Verb.UNINSTALL else service_of(settings, on_demand=on_demand)
    if dry_run:
        for path, text in wanted.files.items():
            terminal.data(f"==> {path} <==\n{text}\n")
        for command in wanted.begin if verb is Verb.INSTALL else wanted.end:
            terminal.data(" ".join(command) + "\n")
        return
    was_service = everything.uninstall()
    if verb is Verb.UNINSTALL:
        terminal.message("olm is no service any more\n" if was_service else "olm is no service\n")
        return
    if (running := find_daemon(settings)) is not None:
        stop_daemon(running, timeout_s=STOP_TIMEOUT_S)
    wanted.install()
    terminal.message(f"olm is a service at {settings.address.url}\n")
