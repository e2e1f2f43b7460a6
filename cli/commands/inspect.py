"""`olm inspect`: all that the store has of models, as JSON."""

import json
from typing import Annotated, Any

from typer import Argument, Option

from olmkit.cli.errors import SomeFailed, UsageError
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.engine.client.storereplies import inspect as inspect_model
from olmkit.engine.errors import ApiError


def inspect(
    models: Annotated[
        list[str], Argument(metavar="MODEL...", help="Names, IDs or digests of models.")
    ],
    format: Annotated[
        str, Option("-f", "--format", help="`json`, or a Go template for each model.")
    ] = "json",
) -> None:
    """Show manifest, config, layers, source and sizes of models as JSON."""
    terminal = Terminal()
    client = daemon(terminal)
    found: list[dict[str, Any]] = []
    missing = 0
    for model in models:
        try:
            found.append(inspect_model(client, model))
        except ApiError as error:
            if error.status != 404:
                raise
            terminal.message(f"Error: no such model: {model}\n")
            missing += 1
    if format == "json":
        terminal.data(json.dumps(found, indent=4, ensure_ascii=False) + "\n")
    else:
        terminal.data("".join(f"{line}\n" for line in _rendered(format, found)))
    for value in found:
        _warn(value, terminal)
    if missing:
        raise SomeFailed(f"{missing} of {len(models)} failed")


def _warn(value: dict[str, Any], terminal: Terminal) -> None:
    name = next(iter(value["names"]), value["id"])
    for digest in value["missing"]:
        terminal.message(f"Warning: blob {digest} of {name} is missing or of another size\n")
    if value["problem"]:
        terminal.message(f"Warning: {name}: {value['problem']}\n")
    elif value["missing"]:
        terminal.message(f"hint: pull or create the model again, such as `olm pull {name}`\n")


def _rendered(text: str, values: list[dict[str, Any]]) -> list[str]:
    from olmkit.modelfile.gotemplate import Template
    from olmkit.modelfile.gotemplate.templateerrors import TemplateError

    try:
        template = Template.parse(text)
        return [template.execute(value) for value in values]
    except TemplateError as error:
        raise UsageError(f"template parsing error: {error}") from error
