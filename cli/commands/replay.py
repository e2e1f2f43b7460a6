"""`olm replay`: a recorded request, made again."""

from typing import Annotated

from typer import Argument, Option

from olmkit.cli.chat.asking import Asking
from olmkit.cli.errors import ExpectationFailed, UsageError
from olmkit.cli.oneshot.oneanswer import OneAnswer
from olmkit.cli.oneshot.onerequest import Form, show
from olmkit.cli.oneshot.recording import read_recording
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.progress import Waiting
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.engine.client.storereplies import inspect


def replay(
    file: Annotated[str, Argument(metavar="FILE", help="What `olm run --record` wrote.")],
    diff: Annotated[
        bool, Option("--diff", help="Print how the answer differs; exit with 14 if it does.")
    ] = False,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Ask a recorded question again, of the very model that answered it.

    The model is found by its digest, whatever its name means by now. What was recorded with
    --reproducible is answered with the same bytes on the same machine and engine. --json and
    --format print the object of `olm run --json`.
    """
    form = data_form(format=format, json=json)
    if diff and not form.is_text:
        raise UsageError("--diff prints a difference, not the answer of --json and --format")
    terminal = Terminal()
    request, recorded = read_recording(file, terminal)
    digest = str(recorded.get("digest") or request.get("model") or "")
    answer = OneAnswer(model=str(request.get("model")), digest=digest)
    client = daemon(terminal)
    name = digest if digest == answer.model else str(inspect(client, digest)["names"][0])
    ask = client.chat if "messages" in request else client.generate
    chunks = ask({**request, "model": name})
    if form.is_text and not diff:
        show(chunks, answer, Form.TEXT, Asking(), terminal)
        return
    with Waiting(terminal):
        for chunk in chunks:
            answer.add(chunk)
    if not diff:
        show_value(answer.as_json(), form, terminal, lambda: None)
        return
    before = str(recorded.get("text", ""))
    if answer.text == before:
        terminal.message("the answer is the same\n")
        return
    import difflib

    lines = difflib.unified_diff(
        before.splitlines(), answer.text.splitlines(), "recorded", "now", lineterm=""
    )
    terminal.data("".join(f"{line}\n" for line in lines))
    raise ExpectationFailed(f"the answer differs from the one in {file}")
