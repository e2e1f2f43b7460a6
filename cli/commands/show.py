"""`olm show`: what is known of a model."""

from typing import Annotated

from typer import Argument, Option

from olmkit.cli.errors import UsageError
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.engine.client.replies import model_details


def show(
    model: Annotated[str, Argument(metavar="MODEL", help="Name of a model.")],
    license: Annotated[bool, Option("--license", help="Only the licence.")] = False,
    modelfile: Annotated[bool, Option("--modelfile", help="Only the Modelfile.")] = False,
    parameters: Annotated[bool, Option("--parameters", help="Only the parameters.")] = False,
    template: Annotated[bool, Option("--template", help="Only the prompt template.")] = False,
    effective: Annotated[
        bool, Option("--effective", help="With --template: the one that renders prompts, and why.")
    ] = False,
    system: Annotated[bool, Option("--system", help="Only the system message.")] = False,
    verbose: Annotated[
        bool, Option("-v", "--verbose", help="All metadata and tensors as well.")
    ] = False,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Show what is known of a model.

    A model can have a Go template, from its Modelfile, and a Jinja template, from its GGUF file.
    With --template --effective the one that is used goes to standard output, and its language and
    why it is used to standard error. A model without any gets the turns' texts as they are, and
    nothing is printed.

    A draft model, from DRAFT in the Modelfile, is shown with whether it can be used: those that
    read the inner state of the model (EAGLE-3, DFlash) are stored only. A head in the
    model's own file that guesses further tokens (MTP) is shown in the same way.
    """
    form = data_form(format=format, json=json)
    if effective and not template:
        raise UsageError("--effective goes with --template")
    if sum((license, modelfile, parameters, template, system)) > 1:
        raise UsageError(
            "only one of '--license', '--modelfile', '--parameters', '--system', "
            "or '--template' can be specified"
        )
    if not form.is_text and (license or modelfile or parameters or template or system):
        raise UsageError("--format and --json print all that is known, not a part of it")
    terminal = Terminal()
    told = daemon(terminal).details(model, verbose=verbose)
    details = model_details(told)
    if license:
        terminal.data(details.license + "\n")
    elif modelfile:
        terminal.data(details.modelfile + "\n")
    elif parameters:
        lines = sorted(details.parameters.splitlines(), key=lambda line: line.split(" ")[0])
        terminal.data("\n".join(lines) + "\n")
    elif effective:
        terminal.message(f"{details.template_kind}: {details.template_reason}\n")
        for note in details.template_notes:
            terminal.message(f"note: {note}\n")
        terminal.data("" if details.template_kind == "plain" else details.template)
    elif template:
        terminal.data(details.template)
    elif system:
        terminal.data(details.system)
    elif form.is_text:
        from olmkit.cli.screen.showsections import describe

        terminal.data(describe(details, verbose=verbose))
    else:
        show_value(told, form, terminal, lambda: None)
