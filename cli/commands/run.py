"""`olm run`: one answer, or a chat."""

import json
import threading
from typing import Annotated

from typer import Argument, Option

from olmkit.cli.building.fetch import fetch
from olmkit.cli.building.localmodel import called, local_file
from olmkit.cli.chat.asking import (
    Asking,
    parse_format,
    parse_keep_alive,
    parse_think,
)
from olmkit.cli.chat.preload import load
from olmkit.cli.chat.promptinput import join_prompt
from olmkit.cli.errors import UsageError
from olmkit.cli.flags import Insecure
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.settings import client_of, load_settings
from olmkit.cli.thinkflag import ThinkCommand
from olmkit.engine.client import Client
from olmkit.engine.client.replies import ModelDetails
from olmkit.engine.errors import ApiError
from olmkit.engine.settings import Settings

COMMAND_CLASS = ThinkCommand


def run(
    model: Annotated[
        str,
        Argument(metavar="MODEL", help="A name, or the path of a GGUF file. Pulled if missing."),
    ],
    prompt: Annotated[
        list[str] | None,
        Argument(metavar="[PROMPT]...", help="Without one, and on a terminal: a chat."),
    ] = None,
    keepalive: Annotated[
        str,
        Option("--keepalive", metavar="TIME", help="Keep the model loaded: 5m, 300 (s), 0, -1."),
    ] = "",
    verbose: Annotated[bool, Option("--verbose", help="Show timings of the answer.")] = False,
    insecure: Insecure = False,
    nowordwrap: Annotated[
        bool, Option("--nowordwrap", help="Let the terminal break lines anywhere.")
    ] = False,
    format: Annotated[
        str, Option("--format", metavar="FORMAT", help="`json`, or a JSON schema.")
    ] = "",
    think: Annotated[
        str | None,
        Option("--think", metavar="[LEVEL]", help="true, false, low, medium, high or max."),
    ] = None,
    hidethinking: Annotated[
        bool, Option("--hidethinking", help="Do not show what the model thinks.")
    ] = False,
    truncate: Annotated[
        bool | None,
        Option("--truncate/--no-truncate", help="Shorten what the context cannot hold, or fail."),
    ] = None,
    reproducible: Annotated[
        bool, Option("--reproducible", help="The same bits each time; slower.")
    ] = False,
    require_gpu: Annotated[
        bool, Option("--require-gpu", help="All layers on graphics cards, or an error.")
    ] = False,
    min_ctx: Annotated[
        int,
        Option(
            "--min-ctx",
            metavar="N",
            min=0,
            show_default=False,
            help="Where the context does not fit, a shorter one of N tokens will do.",
        ),
    ] = 0,
    quant: Annotated[
        str,
        Option("--quant", metavar="NAME", help="If it must be pulled: this quantization, or auto."),
    ] = "",
    dimensions: Annotated[
        int,
        Option(
            "--dimensions",
            metavar="N",
            min=0,
            show_default=False,
            help="Embeddings: length of the vector.",
        ),
    ] = 0,
) -> None:
    """Run a model: answer a prompt, or chat.

    Text on standard input comes before the words of the prompt. A standard output that is no
    terminal carries the answer alone, with a newline at its end if it has none; progress,
    thoughts and timings go to standard error.
    An empty prompt loads the model. An embedding model prints its vector as a JSON array.
    """
    asking = Asking(
        keep_alive=parse_keep_alive(keepalive),
        format=parse_format(format),
        think=parse_think(think),
        wraps=not nowordwrap,
        verbose=verbose,
        hides_thinking=hidethinking,
        truncate=truncate,
        options=_options(reproducible=reproducible, require_gpu=require_gpu, min_ctx=min_ctx),
    )
    terminal = Terminal()
    settings = load_settings(terminal)
    chats = not prompt and not terminal.has_input and terminal.shows_data
    text = "" if chats else join_prompt(terminal, prompt or [])
    client = client_of(settings, terminal)
    digest = local_file(client, model, terminal)
    name = digest or model
    with called(model, digest):
        details = find_model(client, name, terminal, insecure=insecure, quant=quant)
        if asking.think is None and "thinking" in details.capabilities:
            asking.think = True
        if "embedding" in details.capabilities:
            _embed(client, name, text, asking, terminal, truncate=truncate, dimensions=dimensions)
        elif chats:
            _chat(client, name, details, asking, terminal, settings)
        else:
            _generate(client, name, details, text, asking, terminal)
            _say_notes(client, name, terminal)


def _options(**flags: bool | int) -> dict[str, object]:
    """The request options of the flags that were given."""
    return {name: value for name, value in flags.items() if value}


def _say_notes(client: Client, name: str, terminal: Terminal) -> None:
    """In which ways the model has less than was asked for, if it is still loaded."""
    for model in client.running():
        if name in (model.name, model.name.removesuffix(":latest")):
            for note in model.notes:
                terminal.message(f"warning: {visible(note)}\n")


def find_model(
    client: Client, name: str, terminal: Terminal, *, insecure: bool, quant: str = ""
) -> ModelDetails:
    """The details of the model, which is pulled if the store lacks it, or lacks the file whose
    digest its address names."""
    wanted = None
    if name.startswith("http"):
        from olmkit.registry.oci.reference import address_digest

        wanted = address_digest(name)
    try:
        if wanted is None or _has_layer(client, name, wanted):
            return client.show(name)
    except ApiError as error:
        if name.startswith(("oci:", "oci-archive:")):
            text = f"{name!r} is a layout, which holds models under names of their own"
            hint = f"`olm pull {name}` brings them; then run one by its name"
            raise UsageError(text, hint=hint) from error
        if error.status != 404 or name.startswith("sha256:"):
            raise
    fetch(client, name, terminal, insecure=insecure, quant=quant)
    return client.show(name)


def _has_layer(client: Client, name: str, digest: str) -> bool:
    from olmkit.engine.client.storereplies import inspect

    return any(layer["digest"] == digest for layer in inspect(client, name)["layers"])


def _chat(
    client: Client,
    name: str,
    details: ModelDetails,
    asking: Asking,
    terminal: Terminal,
    settings: Settings,
) -> None:
    with terminal.held_input():
        # Both take their time: the line editor's imports, and the model's load.
        imports = threading.Thread(target=_import_repl)
        imports.start()
        load(client, name, asking, terminal)
        _say_notes(client, name, terminal)
        imports.join()
        from olmkit.cli.chat import repl
        from olmkit.cli.chat.lineeditor import LineEditor
        from olmkit.cli.chat.session import Chat

        editor = LineEditor(settings, terminal)
        repl.run(Chat(client, name, details, asking, terminal, editor))


def _import_repl() -> None:
    import olmkit.cli.chat.repl  # noqa: F401  prompt-toolkit comes with it


def _embed(
    client: Client,
    name: str,
    text: str,
    asking: Asking,
    terminal: Terminal,
    *,
    truncate: bool | None,
    dimensions: int,
) -> None:
    if not text:
        raise UsageError(
            "embedding models require input text", hint=f'usage: olm run {name} "your text here"'
        )
    body: dict[str, object] = {"model": name, "input": text}
    if asking.keep_alive is not None:
        body["keep_alive"] = asking.keep_alive
    if truncate is not None:
        body["truncate"] = truncate
    if dimensions:
        body["dimensions"] = dimensions
    terminal.data(json.dumps(client.embed(body), separators=(",", ":")) + "\n")


def _generate(
    client: Client,
    name: str,
    details: ModelDetails,
    text: str,
    asking: Asking,
    terminal: Terminal,
) -> None:
    from olmkit.cli.chat.answer import AnswerView, dropped_text, timings_text

    body = asking.body(name)
    if details.is_multimodal:
        from olmkit.cli.chat.media import extract_files

        text, attachments = extract_files(text)
        for attachment in attachments:
            terminal.message(f"Added {attachment.kind} '{attachment.path}'\n")
        body["images"] = [attachment.data for attachment in attachments]
    body["prompt"] = text
    timings, notice = None, ""
    with AnswerView(terminal, wraps=asking.wraps, hides_thinking=asking.hides_thinking) as view:
        for chunk in client.generate(body):
            view.show(chunk)
            timings = chunk.timings or timings
            notice = dropped_text(chunk.dropped)
    if notice:
        terminal.message(notice)
    if asking.verbose and timings is not None:
        terminal.message(timings_text(timings))
