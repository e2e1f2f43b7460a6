"""`olm sbom`: what a model is made of, as a bill of materials."""

import json as jsonlib
import os
import re
from pathlib import Path
from typing import Annotated, Final

from typer import Argument, Option

from olmkit.cli.errors import UsageError
from olmkit.cli.records.arrived import name_among
from olmkit.cli.records.dataflags import JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.cli.trust.billofmaterials import bill_of
from olmkit.cli.typedpaths import write_errors
from olmkit.engine.client.storereplies import inspect

EPOCH: Final = "SOURCE_DATE_EPOCH"


def sbom(
    model: Annotated[str, Argument(metavar="MODEL", help="Name, ID or digest of a stored model.")],
    output: Annotated[
        str, Option("-o", "--output", metavar="FILE", help="A file, instead of standard output.")
    ] = "",
    format: Annotated[
        str, Option("--format", metavar="json|TEMPLATE", help="`json`, or a Go template.")
    ] = "",
    json: JsonFlag = False,
) -> None:
    """Print a bill of what a model is made of: files, licences, origin, base models.

    It is CycloneDX 1.6 in JSON (an ML-BOM), or what a template takes of it. It is the same for the
    same model, and bears a time only if SOURCE_DATE_EPOCH says which.
    """
    form = data_form(format=format, json=json)
    terminal = Terminal()
    epoch_s = _epoch()
    client = daemon(terminal)
    found = inspect(client, model)
    names = found.get("names") or []
    details = client.details(model)
    name = name_among(names, model)
    if name not in names:  # it was asked for by its ID or digest
        name = next(iter(names), model)
    bill = bill_of(name, found, details, epoch_s=epoch_s)
    if form.template is not None:
        text = form.template.lines([dict(bill)])
    else:
        text = jsonlib.dumps(bill, indent=2, ensure_ascii=False) + "\n"
    if not output or output == "-":
        terminal.data(text)
        return
    with write_errors(output):
        Path(output).write_text(text, encoding="utf-8")


def _epoch() -> int | None:
    """The time that build tools ask for, in seconds since 1970."""
    given = os.environ.get(EPOCH)
    if not given:
        return None
    if re.fullmatch(r"[0-9]{1,11}", given) is None:
        raise UsageError(f"{EPOCH} is no number of seconds: {given[:40]!r}")
    return int(given)
