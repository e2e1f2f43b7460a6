"""`olm rerank`: documents in the order in which they answer a query."""

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


def rerank(
    model: Annotated[
        str,
        Argument(metavar="MODEL", help="A model with a classifier, or the path of its GGUF file."),
    ],
    query: Annotated[str, Argument(metavar="QUERY", help="What the documents may answer.")],
    documents: Annotated[
        list[str] | None,
        Argument(metavar="[DOCUMENT]...", help="Without one: the lines of standard input."),
    ] = None,
    top: Annotated[
        int | None, Option("-n", "--top", metavar="N", min=1, help="Only the best N.")
    ] = None,
    raw_scores: Annotated[
        bool, Option("--raw-scores", help="What the classifier says, not a number from 0 to 1.")
    ] = False,
    truncate: Annotated[
        bool, Option("--truncate", help="Cut documents that the context cannot hold.")
    ] = False,
    no_pull: Annotated[
        bool, Option("--no-pull", help="Fail if the store lacks the model.")
    ] = False,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Print documents by how well they answer a query, the best first.

    A line is the score, a tabulator and the document. --json and --format print one object:
    results, tokens, timings.
    """
    form = data_form(format=format, json=json)
    terminal = Terminal()
    require_text([query, *(documents or [])])
    texts = documents or [line for line in join_prompt(terminal, []).splitlines() if line]
    if not texts:
        raise UsageError("there are no documents", hint="name them, or one a line on stdin")
    client = daemon(terminal)
    digest = local_file(client, model, terminal)
    body: dict[str, object] = {
        "model": digest or model,
        "query": query,
        "documents": texts,
        "raw_scores": raw_scores,
        "truncate": truncate,
    }
    if top is not None:
        body["top_n"] = top
    with called(model, digest):
        find_model(client, digest or model, terminal, pulls=not no_pull)
        reply = client.request("POST", "/api/rerank", body, timeout_s=None)
    results = [
        {"index": one["index"], "score": one["relevance_score"], "text": texts[one["index"]]}
        for one in reply["results"]
    ]
    record = {
        "model": model,
        "results": results,
        **costs_of(reply),
    }

    def show() -> None:
        rows = (f"{one['score']:.4f}\t{' '.join(one['text'].split())}\n" for one in results)
        terminal.data("".join(rows))

    show_value(record, form, terminal, show)
