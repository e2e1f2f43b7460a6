"""`olm embed`: the vectors of texts."""

import json as jsonlib
from typing import Annotated

from typer import Argument, Option

from olmkit.cli.building.findmodel import find_model
from olmkit.cli.building.localmodel import called, local_file
from olmkit.cli.chat.promptinput import join_prompt, require_text
from olmkit.cli.errors import UsageError
from olmkit.cli.oneshot.replycosts import costs_of
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon


def embed(
    model: Annotated[
        str,
        Argument(metavar="MODEL", help="A name, or the path of a GGUF file. Pulled if missing."),
    ],
    texts: Annotated[
        list[str] | None, Argument(metavar="[TEXT]...", help="Without one: standard input.")
    ] = None,
    lines: Annotated[
        bool, Option("--lines", help="Each line of standard input is a text.")
    ] = False,
    dimensions: Annotated[
        int,
        Option("--dimensions", metavar="N", min=0, show_default=False, help="Length of vectors."),
    ] = 0,
    truncate: Annotated[
        bool | None,
        Option("--truncate/--no-truncate", help="Shorten what the context cannot hold, or fail."),
    ] = None,
    no_pull: Annotated[
        bool, Option("--no-pull", help="Fail if the store lacks the model.")
    ] = False,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Print the vector of each text, a JSON array a line.

    Standard input, if there are no texts, is one text as a whole; with --lines it is one a line.
    --json and --format print one object: vectors, tokens, timings.
    """
    form = data_form(format=format, json=json)
    terminal = Terminal()
    if texts and lines:
        raise UsageError("--lines goes with standard input, not with words")
    require_text(texts or [])
    if not texts:
        whole = join_prompt(terminal, [])
        texts = whole.splitlines() if lines else [whole] if whole else []
    if not texts:
        raise UsageError("there is no text", hint=f'usage: olm embed {model} "your text here"')
    client = daemon(terminal)
    digest = local_file(client, model, terminal)
    body: dict[str, object] = {"model": digest or model, "input": texts}
    if truncate is not None:
        body["truncate"] = truncate
    if dimensions:
        body["dimensions"] = dimensions
    with called(model, digest):
        find_model(client, digest or model, terminal, pulls=not no_pull)
        reply = client.request("POST", "/api/embed", body, timeout_s=None)
    vectors = reply["embeddings"]
    record = {
        "model": model,
        "embeddings": vectors,
        **costs_of(reply),
    }

    def show() -> None:
        rows = (jsonlib.dumps(vector, separators=(",", ":")) for vector in vectors)
        terminal.data("".join(f"{row}\n" for row in rows))

    show_value(record, form, terminal, show)
