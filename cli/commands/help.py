"""`olm help`: what `--help` prints."""

from typing import Annotated

import typer

from olmkit.cli.app import LazyGroup, unknown_command
from olmkit.cli.screen.terminal import Terminal


def help(
    ctx: typer.Context,
    command: Annotated[str, typer.Argument(metavar="[COMMAND]", help="Name of a command.")] = "",
) -> None:
    """Show help for a command, or for all."""
    root = ctx.parent
    assert root is not None
    assert isinstance(root.command, LazyGroup)
    if not command:
        Terminal().data(root.get_help() + "\n")
        return
    found = root.command.get_command(root, command)
    if found is None:
        raise unknown_command(command)
    with found.make_context(command, ["--help"], parent=root, resilient_parsing=True) as inner:
        Terminal().data(inner.get_help() + "\n")
