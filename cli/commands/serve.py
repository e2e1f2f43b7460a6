"""`olm serve`: the daemon itself."""

from dataclasses import replace
from typing import Annotated

from typer import Option

from olmkit.cli.errors import CliError
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import load_settings
from olmkit.engine.addresses.address import parse_address
from olmkit.engine.settings import Settings

STOP_TIMEOUT_S = 30.0


def serve(
    host: Annotated[
        str, Option("--host", metavar="ADDRESS", help="Listen there instead of at OLM_HOST.")
    ] = "",
    insecure: Annotated[
        bool, Option("--insecure", help="Let other machines use the daemon without a key.")
    ] = False,
    stop: Annotated[
        bool, Option("--stop", help="End the daemon that runs, and the models it has loaded.")
    ] = False,
) -> None:
    """Run the daemon in the foreground, logging to stderr.

    Other commands start it in the background when it does not run. SIGTERM and Ctrl-C end it.

    Where other machines can reach the address, it needs a key (`olm key create`) or --insecure.
    """
    terminal = Terminal()
    settings = load_settings(terminal, project=False)
    if host:
        settings = replace(settings, address=parse_address(host))
    if insecure:
        settings = replace(settings, is_insecure=True)
    if stop:
        _stop(settings, terminal)
        return
    from olmkit.engine.daemon import run

    run(settings)


def _stop(settings: Settings, terminal: Terminal) -> None:
    from olmkit.engine.client.launch import find_daemon, stop_daemon

    daemon = find_daemon(settings)
    if daemon is None:
        terminal.message("no daemon runs\n")
    elif not stop_daemon(daemon, timeout_s=STOP_TIMEOUT_S):
        raise CliError(
            f"the daemon (pid {daemon.pid}) did not end within {STOP_TIMEOUT_S:g} s",
            hint=f"`kill -9 {daemon.pid}` ends it and its runners",
        )
