"""`olm stop`: takes models out of memory."""

import time
from typing import Annotated

from typer import Argument

from olmkit.cli.each import for_each
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.engine.client.loadedmodels import Wanted
from olmkit.engine.errors import ApiError, DaemonNotRunning

UNLOAD_S = 5.0
"""A runner that does not end by itself is ended by force within three seconds."""


def stop(
    models: Annotated[list[str], Argument(metavar="MODEL...", help="Names or IDs of models.")],
) -> None:
    """Unload models.

    A model that is answering is unloaded when it has finished; that is waited for some seconds
    and then told. Without a running daemon nothing is loaded, which is no failure. `olm serve
    --stop` ends the daemon itself.
    """
    terminal = Terminal()
    client = daemon(terminal, start=False)

    def unload(model: str) -> None:
        try:
            client.unload(model)
            wanted = Wanted.of(client, model)
            deadline_s = time.monotonic() + UNLOAD_S
            while wanted.among(client.running()):
                if time.monotonic() < deadline_s:
                    time.sleep(0.05)
                    continue
                terminal.message(f"{model} is still answering: it is unloaded when it is done\n")
                break
        except DaemonNotRunning:
            if not client.address.is_local:
                raise
        except ApiError as error:
            if error.status != 404:
                raise
            raise ApiError(
                f'couldn\'t find model "{model}" to stop', status=404, hint=error.hint
            ) from error

    for_each(models, unload, terminal)
