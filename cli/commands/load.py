"""`olm load`: models out of an archive."""

from typing import Annotated

from typer import Argument, Option

from olmkit.cli.building.archiveinput import load_from
from olmkit.cli.errors import UsageError
from olmkit.cli.records.arrived import show_arrived
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.screen.progress import ProgressOption, ProgressStyle
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon


def load(
    file: Annotated[str, Argument(metavar="[FILE]", help="The archive; without one, stdin.")] = "",
    input: Annotated[str, Option("-i", "--input", help="The same as FILE.")] = "",
    name: Annotated[
        str, Option("--name", help="Name for the one model of an archive; wins over its own.")
    ] = "",
    quiet: Annotated[bool, Option("-q", "--quiet", help="Show no progress.")] = False,
    progress: ProgressOption = ProgressStyle.AUTO,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Take models out of an archive: an OCI image layout, compressed or not.

    FILE may also be the folder of a layout. Everything is verified before a model appears, and a
    policy (OLM_POLICY) is held against the archive's own signatures.
    """
    form = data_form(format=format, json=json)
    terminal = Terminal()
    if file and input:
        raise UsageError("FILE and --input are the same: give one of them")
    path = file or input
    if not path and not terminal.has_input:
        raise UsageError("nothing to load: name a file or redirect one to stdin")
    client = daemon(terminal)
    names = load_from(client, path, terminal, name=name, quiet=quiet, progress=progress)
    if not form.is_text:
        show_arrived(client, names, form, terminal)
        return
    terminal.data("".join(f"Loaded model: {loaded}\n" for loaded in names))
