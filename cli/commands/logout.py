"""`olm logout`: forgets the credentials of a registry."""

from typing import Annotated

from typer import Argument

from olmkit.cli.commands.login import host_of
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import load_settings
from olmkit.registry.http.credentials import DOCKER_HUB


def logout(
    server: Annotated[
        str, Argument(metavar="[SERVER]", help="A registry, `docker.io` if left out.")
    ] = DOCKER_HUB,
) -> None:
    """Log out of a registry.

    Its credentials leave Docker's config.json, or the credential helper that keeps them.
    """
    terminal = Terminal()
    host = host_of(server)
    if load_settings(terminal).remotes.credentials.erase(host):
        terminal.data(f"Removing login credentials for {host}\n")
    else:
        terminal.data(f"Not logged in to {host}\n")
