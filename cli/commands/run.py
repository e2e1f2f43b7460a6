"""`olm run`: one answer, or a chat."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from typer import Argument, Option
from typer._click import Context

from olmkit.cli.app import Command
from olmkit.cli.chat.asking import (
    THINK_LEVELS,
    Asking,
    parse_format,
    parse_keep_alive,
    parse_think,
)
from olmkit.cli.errors import CliError, NotFound, UsageError
from olmkit.cli.flags import Insecure
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import load_settings
from olmkit.engine.client import Client, connect
from olmkit.engine.client.replies import ModelDetails
from olmkit.engine.errors import ApiError

MAX_INPUT_BYTES = 64 * 1024 * 1024
REMOTE_PREFIXES = ("hf.co/", "huggingface.co/", "pypi://", "http://", "https://", "oci://")


class RunCommand(Command):
    """`--think` may stand without a value, and takes the next word only if it is a level."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """The words that are left, none."""
        words: list[str] = []
        rest = iter(args)
        for word in rest:
            if word == "--":
                words += [word, *rest]
            elif word == "--think":
                following = next(rest, None)
                if following in THINK_LEVELS:
                    words.append(f"--think={following}")
                else:
                    words += ["--think=true", *([] if following is None else [following])]
            else:
                words.append(word)
        return super().parse_args(ctx, words)


COMMAND_CLASS = RunCommand


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
        Option("--truncate/--no-truncate", help="Embeddings: cut what is too long, or fail."),
    ] = None,
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
    )
    terminal = Terminal()
    settings = load_settings(terminal)
    chats = not prompt and not terminal.has_input and terminal.shows_data
    text = "" if chats else join_prompt(terminal, prompt or [])
    client = connect(settings)
    digest = local_file(client, model, terminal)
    name = digest or model
    with called(model, digest):
        details = find_model(client, name, terminal, insecure=insecure)
        if asking.think is None and "thinking" in details.capabilities:
            asking.think = True
        if "embedding" in details.capabilities:
            _embed(client, name, text, asking, terminal, truncate=truncate, dimensions=dimensions)
        elif chats:
            from olmkit.cli.chat.repl import chat

            chat(client, name, details, asking, terminal, settings)
        else:
            _generate(client, name, details, text, asking, terminal)


@contextmanager
def called(path: str, digest: str | None) -> Iterator[None]:
    """A local file is called by its path in errors, not by the digest that the daemon knows."""
    try:
        yield
    except ApiError as error:
        if digest is None:
            raise
        text = str(error)
        for spelling in (f"model {digest[7:19]}", digest, digest[7:19]):
            text = text.replace(spelling, path)
        raise ApiError(text, status=error.status, code=error.code, hint=error.hint) from error


def join_prompt(terminal: Terminal, words: list[str]) -> str:
    """Standard input, when it is no terminal, then the words; joined by blanks.

    Raises:
        CliError: the input is too long or cannot be read.
    """
    parts = list(words)
    if terminal.has_input:
        try:
            raw = terminal.stdin.buffer.read(MAX_INPUT_BYTES + 1)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CliError(f"cannot read standard input: {reason}") from error
        if len(raw) > MAX_INPUT_BYTES:
            raise CliError(f"standard input is longer than {MAX_INPUT_BYTES // 2**20} MiB")
        if raw:
            parts.insert(0, raw.decode("utf-8", "replace").removeprefix("\ufeff"))
    return " ".join(parts)


def local_file(client: Client, model: str, terminal: Terminal) -> str | None:
    """The digest under which a local GGUF file runs; None if the word is a name.

    Raises:
        NotFound: it looks like a path, but nothing is there.
        UsageError: it is a directory.
    """
    if model.startswith(REMOTE_PREFIXES):
        return None
    looks_local = model.startswith(("/", "./", "../", "~"))
    if not looks_local and not model.lower().endswith(".gguf"):
        return None
    path = Path(os.path.expanduser(model))
    if not path.exists():
        raise NotFound(f"no such file: {model}")
    if path.is_dir():
        raise UsageError(
            f"{model} is a directory", hint="`olm create NAME -f Modelfile` builds a model of it"
        )
    if "-of-" in path.name:
        _require_whole(path)
    from olmkit.cli.building.handover import hand_over
    from olmkit.cli.screen.progress import progress_display

    with progress_display(terminal) as display:
        return hand_over(client, path, display)


def _require_whole(path: Path) -> None:
    from olmkit.engine.gguf.shards import parse_name

    shard = parse_name(path.name)
    if shard is not None:
        raise UsageError(
            f"{path} is part {shard.number} of {shard.count} of a model",
            hint=f"`olm create NAME` puts them together, with `FROM {path}` in its Modelfile",
        )


def find_model(client: Client, name: str, terminal: Terminal, *, insecure: bool) -> ModelDetails:
    """What is known of the model, which is pulled if the store lacks it, or the file that its
    address names by digest."""
    wanted = None
    if name.startswith("http"):
        from olmkit.registry.oci.reference import address_digest

        wanted = address_digest(name)
    try:
        if wanted is None or _has_layer(client, name, wanted):
            return client.show(name)
    except ApiError as error:
        if error.status != 404 or name.startswith("sha256:"):
            raise
    from olmkit.cli.commands.pull import fetch

    fetch(client, name, terminal, insecure=insecure)
    return client.show(name)


def _has_layer(client: Client, name: str, digest: str) -> bool:
    from olmkit.engine.client.storereplies import inspect

    return any(layer["digest"] == digest for layer in inspect(client, name)["layers"])


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
    from olmkit.cli.chat.answer import AnswerView, timings_text

    body = asking.body(name)
    if details.is_multimodal:
        from olmkit.cli.chat.media import extract_files

        text, attachments = extract_files(text)
        for attachment in attachments:
            terminal.message(f"Added {attachment.kind} '{attachment.path}'\n")
        body["images"] = [attachment.data for attachment in attachments]
    body["prompt"] = text
    timings = None
    with AnswerView(terminal, wraps=asking.wraps, hides_thinking=asking.hides_thinking) as view:
        for chunk in client.generate(body):
            view.show(chunk)
            timings = chunk.timings or timings
    if asking.verbose and timings is not None:
        terminal.message(timings_text(timings))
