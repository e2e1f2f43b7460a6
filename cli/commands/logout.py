"""`olm logout`: forgets the credentials of a registry."""

from typing import Annotated

from typer import Argument

from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import load_settings
from olmkit.registry.http.credentials import DOCKER_HUB, login_host


def logout(
    server: Annotated[
        str, Argument(metavar="[SERVER]", help="A registry, `docker.io` if left out.")
    ] = DOCKER_HUB,
) -> None:
    """Log out of a registry.

    Its credentials leave Docker's config.json, or the credential helper that keeps them.
    """
    terminal = Terminal()
    host = login_host(server)
    if load_settings(terminal).remotes.credentials.erase(host):
        terminal.data(f"Removing login credentials for {host}\n")
    else:
        terminal.data(f"Not logged in to {host}\n")
