"""`olm inspect`: all that the store has of models, as JSON."""

import json as jsonlib
from typing import Annotated, Final

from typer import Argument, Option

from olmkit.cli.each import for_each
from olmkit.cli.errors import SomeFailed
from olmkit.cli.records.dataflags import JsonFlag
from olmkit.cli.records.dataform import DataForm, Record, data_form
from olmkit.cli.records.modellist import docker_time
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.engine.client.storereplies import inspect as inspect_model
from olmkit.engine.errors import ApiError

INDENT: Final = 4
"""As Docker's."""


def inspect(
    models: Annotated[
        list[str], Argument(metavar="MODEL...", help="Names, IDs or digests of models.")
    ],
    format: Annotated[
        str,
        Option(
            "-f",
            "--format",
            metavar="json|TEMPLATE",
            help="`json`, or a Go template for each model.",
        ),
    ] = "",
    json: JsonFlag = False,
) -> None:
    """Show manifest, config, layers, source and sizes of models as JSON.

    It is one array, of those that were found.
    """
    form = data_form(format=format, json=json)
    terminal = Terminal()
    client = daemon(terminal)
    found: list[Record] = []
    try:
        for_each(models, lambda model: found.append(inspect_model(client, model)), terminal)
    except (ApiError, SomeFailed):
        _show(found, form, terminal)
        raise
    _show(found, form, terminal)


def _show(found: list[Record], form: DataForm, terminal: Terminal) -> None:
    if form.template is not None:
        terminal.data(form.template.lines(found, fields=list(map(_fields, found))))
    else:
        terminal.data(jsonlib.dumps(found, indent=INDENT, ensure_ascii=False) + "\n")
    for value in found:
        _warn(value, terminal)


def _fields(value: Record) -> Record:
    """Docker's words for what the record has."""
    config = value["config"] or {}
    return {
        "RepoTags": value["names"],
        "RepoDigests": value["digests"],
        "Created": docker_time(value["modified_at"]),
        "Architecture": config.get("architecture", ""),
        "Os": config.get("os", ""),
        "RootFS": {"Type": "layers", "Layers": [layer["digest"] for layer in value["layers"]]},
    }


def _warn(value: Record, terminal: Terminal) -> None:
    name = next(iter(value["names"]), value["id"])
    for digest in value["missing"]:
        terminal.message(f"Warning: blob {digest} of {name} is missing or of another size\n")
    if value["problem"]:
        terminal.message(f"Warning: {name}: {value['problem']}\n")
    elif value["missing"]:
        terminal.message(f"hint: pull or create the model again, such as `olm pull {name}`\n")
