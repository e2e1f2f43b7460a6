"""`olm ls`: the models of the store."""

from typing import Annotated

from typer import Argument

from olmkit.cli.records.dataflags import (
    FilterFlag,
    FormatFlag,
    JsonFlag,
    NoTruncFlag,
    QuietFlag,
)
from olmkit.cli.records.modellist import MODELS, model_record
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon


def ls(
    prefix: Annotated[
        str, Argument(metavar="[PREFIX]", help="Only models whose names begin so, in any case.")
    ] = "",
    quiet: QuietFlag = False,
    no_trunc: NoTruncFlag = False,
    filters: FilterFlag = None,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """List models, newest first.

    Filters are name (a pattern, also called reference), id, family, quantization, before=MODEL,
    since=MODEL, until=TIME and dangling.
    """
    form = MODELS.form(format=format, json=json, quiet=quiet, no_trunc=no_trunc, filters=filters)
    terminal = Terminal()
    models = [
        model_record(model)
        for model in daemon(terminal).models()
        if model.name.lower().startswith(prefix.lower())
    ]
    MODELS.show(models, form, terminal)
