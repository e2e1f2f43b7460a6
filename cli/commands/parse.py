"""`olm parse`: what the API would return for a model's raw output."""

import json as jsonlib
from typing import Annotated

from typer import Argument, Option

from olmkit.cli.building.jsonfiles import json_objects, read_file, read_json
from olmkit.cli.building.localmodel import called, local_file
from olmkit.cli.errors import UsageError
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon


def parse(
    model: Annotated[
        str, Argument(metavar="MODEL", help="A name, or the path of a GGUF file.")
    ] = "",
    file: Annotated[
        str, Argument(metavar="[FILE]", help="The output; standard input when left out.")
    ] = "-",
    family: Annotated[
        str, Option("--family", metavar="NAME", help="Read it as this family's, without a model.")
    ] = "",
    tools: Annotated[
        str, Option("--tools", metavar="FILE", help="Tools that were offered: a JSON array.")
    ] = "",
    prompt: Annotated[
        str | None,
        Option("--prompt", metavar="TEXT", help="The prompt's end, which may open a thought."),
    ] = None,
    chunks: Annotated[
        int, Option("--chunks", metavar="N", min=1, max=100_000, help="Feed it in N pieces.")
    ] = 1,
    cut: Annotated[bool, Option("--cut", help="A token limit ended the output.")] = False,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Show what the API would return for a model's raw output.

    Standard output carries the message as JSON: text, thoughts and calls of tools. How the model
    writes them is found from its template, as for a chat; the model is not loaded. With --family
    the first argument is the FILE.
    """
    form = data_form(format=format, json=json)
    terminal = Terminal()
    if family and model:
        if file != "-":
            raise UsageError("--family takes the place of MODEL")
        model, file = "", model
    if not family and not model:
        raise UsageError("a MODEL or --family is needed")
    body: dict[str, object] = {"chunks": chunks, "cut": cut}
    if tools:
        if tools == file == "-":
            raise UsageError("standard input cannot be both FILE and tools")
        body["tools"] = json_objects(read_json(tools, terminal), tools)
    if prompt is not None:
        body["prompt"] = prompt
    body["text"] = read_file(file, terminal).decode(errors="replace")
    client = daemon(terminal)
    if family:
        message = client.parse({**body, "family": family})
    else:
        digest = local_file(client, model, terminal)
        with called(model, digest):
            message = client.parse({**body, "model": digest or model})
    text = jsonlib.dumps(message, ensure_ascii=False, indent=2)
    show_value(dict(message), form, terminal, lambda: terminal.data(f"{text}\n"))
