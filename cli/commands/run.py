"""`olm run`: one answer, or a chat."""

import threading
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from olmkit.cli.building.findmodel import find_model
from olmkit.cli.building.localmodel import called, local_file
from olmkit.cli.chat.asking import Asking, parse_keep_alive, parse_think
from olmkit.cli.chat.menu import remember_model
from olmkit.cli.chat.preload import load, say_notes
from olmkit.cli.chat.promptinput import join_prompt
from olmkit.cli.errors import UsageError
from olmkit.cli.flags import Insecure
from olmkit.cli.oneshot.constraints import parse_assignments, read_format
from olmkit.cli.oneshot.deadline import deadline, parse_timeout
from olmkit.cli.oneshot.onerequest import Form, Request, embed, generate
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import client_of, load_settings
from olmkit.cli.thinkflag import ThinkCommand
from olmkit.engine.client import Client
from olmkit.engine.client.replies import ModelDetails
from olmkit.engine.settings import Settings

if TYPE_CHECKING:
    from olmkit.cli.chat.sessionfile import SessionFile

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
    markdown: Annotated[
        bool | None,
        Option("--markdown/--no-markdown", help="Draw Markdown as what it means, on a terminal."),
    ] = None,
    format: Annotated[
        str, Option("--format", metavar="FORMAT", help="`json`, or a JSON schema.")
    ] = "",
    schema: Annotated[
        str, Option("--schema", metavar="FILE", help="Answer in JSON of the schema in a file.")
    ] = "",
    grammar: Annotated[
        str,
        Option("--grammar", metavar="FILE", help="Answer by a .gbnf, .lark or .regex file."),
    ] = "",
    system: Annotated[
        str | None,
        Option("--system", metavar="TEXT", help="A system message in place of the model's own."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        Option("--set", metavar="KEY=VALUE", help="A parameter, as in a Modelfile; repeatable."),
    ] = None,
    seed: Annotated[
        int | None, Option("--seed", metavar="N", help="Start of the random choices.")
    ] = None,
    max_tokens: Annotated[
        int | None,
        Option("--max-tokens", metavar="N", min=1, help="Cut the answer here, and exit with 9."),
    ] = None,
    timeout: Annotated[
        str,
        Option("--timeout", metavar="TIME", help="End all of it, and exit with 10: 90s, 5m."),
    ] = "",
    no_pull: Annotated[
        bool, Option("--no-pull", help="Fail if the store lacks the model.")
    ] = False,
    json: Annotated[
        bool, Option("--json", help="Print one JSON object: text, calls, tokens, timings, end.")
    ] = False,
    jsonl: Annotated[
        bool, Option("--jsonl", help="Print a JSON object a piece, and that of --json at last.")
    ] = False,
    image: Annotated[
        list[str] | None,
        Option("--image", metavar="FILE", help="An image to look at; repeatable."),
    ] = None,
    session: Annotated[
        str, Option("--session", metavar="NAME", help="A chat that is kept, and goes on later.")
    ] = "",
    record: Annotated[
        str, Option("--record", metavar="FILE", help="Write a file for `olm replay`.")
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
    With --session the prompt is asked in the chat that is kept by that name, and kept with its
    answer; a system message is kept too, other flags count for this prompt alone.
    An empty prompt loads the model. An embedding model prints its vector as a JSON array.

    An answer that is cut, repeats itself or is not the JSON that was asked for is printed, and
    told by the exit status; olm(1) lists those.
    """
    terminal = Terminal()
    if "-" in (schema, grammar):
        raise UsageError("standard input is the prompt: --schema and --grammar take files")
    if json and jsonl:
        raise UsageError("only one of --json and --jsonl can be given")
    asking = Asking(
        keep_alive=parse_keep_alive(keepalive),
        format=read_format(format, schema, grammar, terminal),
        think=parse_think(think),
        wraps=not nowordwrap,
        verbose=verbose,
        hides_thinking=hidethinking,
        truncate=truncate,
        options=parse_assignments(set_ or []),
    )
    given = {
        "seed": seed,
        "num_predict": max_tokens,
        "reproducible": reproducible or None,
        "require_gpu": require_gpu or None,
        "min_ctx": min_ctx or None,
    }
    asking.options |= {name: value for name, value in given.items() if value is not None}
    form = Form.JSON if json else Form.JSON_LINES if jsonl else Form.TEXT
    timeout_s = parse_timeout(timeout)
    settings = load_settings(terminal)
    asking.take_project(settings)
    asking.markdown = settings.markdown if markdown is None else markdown
    chats = not prompt and not terminal.has_input and terminal.shows_data
    if chats and (form is not Form.TEXT or image or record or timeout_s or system is not None):
        raise UsageError(
            "--json, --jsonl, --image, --record, --system and --timeout go with a prompt"
        )
    kept = None
    if session:
        from olmkit.cli.chat.sessionfile import SessionFile

        kept = SessionFile(settings.home, session)
    with deadline(timeout_s):
        text = "" if chats else join_prompt(terminal, prompt or [])
        client = client_of(settings, terminal)
        digest = local_file(client, model, terminal)
        name = digest or model
        with called(model, digest):
            details = find_model(
                client, name, terminal, insecure=insecure, quant=quant, pulls=not no_pull
            )
            if asking.think is None and "thinking" in details.capabilities:
                asking.think = True
            if "embedding" in details.capabilities:
                if kept is not None:
                    raise UsageError(f"--session is for chats, and {model} is an embedding model")
                if form is not Form.TEXT or record:
                    raise UsageError(
                        f"{model} is an embedding model", hint="`olm embed --json` prints JSON"
                    )
                embed(client, name, text, asking, terminal, dimensions=dimensions)
            elif chats:
                _chat(client, name, details, asking, terminal, settings, kept)
            else:
                request = Request(
                    text=text, system=system, images=image or [], form=form, record=record
                )
                with ExitStack() as stack:
                    if kept is not None:
                        from olmkit.cli.oneshot.keptquestion import Conversation

                        opened = Conversation.opened(kept, system, terminal)
                        request = replace(request, conversation=stack.enter_context(opened))
                    generate(client, name, details, request, asking, terminal)


def _chat(
    client: Client,
    name: str,
    details: ModelDetails,
    asking: Asking,
    terminal: Terminal,
    settings: Settings,
    kept: "SessionFile | None",
) -> None:
    with terminal.held_input(), nullcontext() if kept is None else kept.held():
        # Both take their time: the line editor's imports, and the model's load.
        imports = threading.Thread(target=_import_repl)
        imports.start()
        load(client, name, asking, terminal)
        say_notes(client, name, terminal)
        imports.join()
        from olmkit.cli.chat import repl
        from olmkit.cli.chat.lineeditor import LineEditor
        from olmkit.cli.chat.session import Chat

        editor = LineEditor(settings, terminal)
        chat = Chat(client, name, details, asking, terminal, editor, kept)
        if not name.startswith("sha256:"):
            remember_model(settings.home, name)
        repl.run(chat)


def _import_repl() -> None:
    import olmkit.cli.chat.repl  # noqa: F401  prompt-toolkit comes with it
