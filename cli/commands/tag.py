"""`olm tag`: one more name for a model, as `docker tag`."""

from typing import Annotated

from typer import Argument

from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon


def tag(
    source: Annotated[str, Argument(metavar="SOURCE", help="Name or ID of a model.")],
    target: Annotated[str, Argument(metavar="TARGET", help="Its new name.")],
) -> None:
    """Give a model one more name, silently.

    An existing model of the new name is replaced.
    """
    daemon(Terminal()).copy(source, target)
