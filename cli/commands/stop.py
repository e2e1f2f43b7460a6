"""`olm stop`: takes models out of memory."""

from typing import Annotated

from typer import Argument

from olmkit.cli.each import for_each
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.engine.errors import ApiError, DaemonNotRunning


def stop(
    models: Annotated[list[str], Argument(metavar="MODEL...", help="Names of models.")],
) -> None:
    """Unload models.

    A model that is answering is unloaded when it has finished. Without a running daemon
    nothing is loaded, which is no failure. `olm serve --stop` ends the daemon itself.
    """
    terminal = Terminal()
    client = daemon(terminal, start=False)

    def unload(model: str) -> None:
        try:
            client.unload(model)
        except DaemonNotRunning:
            if not client.address.is_local:
                raise
        except ApiError as error:
            if error.status != 404:
                raise
            raise ApiError(f'couldn\'t find model "{model}" to stop', status=404) from error

    for_each(models, unload, terminal)
