"""`olm cp`: one more name for a model."""

from typing import Annotated

from typer import Argument

from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon


def cp(
    source: Annotated[str, Argument(metavar="SOURCE", help="Name of a model.")],
    destination: Annotated[str, Argument(metavar="DESTINATION", help="Its new name.")],
) -> None:
    """Give a model one more name.

    An existing model of the new name is replaced. Nothing is copied but the name.
    """
    terminal = Terminal()
    daemon(terminal).copy(source, destination)
    terminal.data(f"copied '{source}' to '{destination}'\n")
