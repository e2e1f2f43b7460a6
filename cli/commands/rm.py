"""`olm rm`: takes names of models, and what only they used, out of the store."""

from typing import Annotated

from typer import Argument, Option

from olmkit.cli.each import for_each
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.engine.errors import ApiError


def rm(
    models: Annotated[list[str], Argument(metavar="MODEL...", help="Names or IDs of models.")],
    force: Annotated[
        bool,
        Option(
            "-f",
            "--force",
            help="A model that is not there is no failure; an ID may have several names.",
        ),
    ] = False,
) -> None:
    """Remove models.

    A loaded model is unloaded first. After a failure the others are removed all the same.
    """
    terminal = Terminal()
    client = daemon(terminal)

    def remove(model: str) -> None:
        try:
            client.unload(model)
        except ApiError as error:
            if error.status not in (400, 404):
                terminal.message(f"warning: unable to stop model '{model}': {error}\n")
        try:
            client.delete(model, force=force)
        except ApiError as error:
            if force and error.status == 404:
                return
            raise
        terminal.data(f"deleted '{model}'\n")

    for_each(models, remove, terminal)
