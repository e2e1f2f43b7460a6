"""`olm load`: models out of an archive."""

from typing import Annotated

from typer import Argument, Option

from olmkit.cli.building.archiveinput import load_from
from olmkit.cli.errors import UsageError
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon


def load(
    file: Annotated[str, Argument(metavar="[FILE]", help="The archive; without one, stdin.")] = "",
    input: Annotated[str, Option("-i", "--input", help="The same as FILE.")] = "",
    name: Annotated[
        str, Option("--name", help="Name for the one model of an archive; wins over its own.")
    ] = "",
    quiet: Annotated[bool, Option("-q", "--quiet", help="Show no progress.")] = False,
) -> None:
    """Take models out of an archive: an OCI image layout, compressed or not.

    FILE may also be the folder of a layout. Everything is verified before a model appears.
    """
    terminal = Terminal()
    if file and input:
        raise UsageError("FILE and --input are the same: give one of them")
    path = file or input
    if not path and not terminal.has_input:
        raise UsageError("nothing to load: name a file or redirect one to stdin")
    names = load_from(daemon(terminal), path, terminal, name=name, quiet=quiet)
    terminal.data("".join(f"Loaded model: {loaded}\n" for loaded in names))
