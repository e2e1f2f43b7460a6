"""`olm prompt`: the text, or the tokens, that a model would get."""

from typing import Annotated

from typer import Argument, Option

from olmkit.cli.building.jsonfiles import json_objects, read_json
from olmkit.cli.building.localmodel import called, local_file
from olmkit.cli.chat.asking import parse_think
from olmkit.cli.chat.promptinput import join_prompt
from olmkit.cli.errors import UsageError
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form, json_line
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.cli.thinkflag import ThinkCommand

COMMAND_CLASS = ThinkCommand
Turns = list[dict[str, object]]


def prompt(
    model: Annotated[str, Argument(metavar="MODEL", help="A name, or the path of a GGUF file.")],
    prompt: Annotated[
        list[str] | None, Argument(metavar="[PROMPT]...", help="What the user says, at last.")
    ] = None,
    messages: Annotated[
        str, Option("--messages", metavar="FILE", help="Turns before: a JSON array of messages.")
    ] = "",
    tools: Annotated[
        str, Option("--tools", metavar="FILE", help="Tools to offer: a JSON array.")
    ] = "",
    system: Annotated[
        str | None,
        Option("--system", metavar="TEXT", help="A system message in place of the model's own."),
    ] = None,
    think: Annotated[
        str | None,
        Option("--think", metavar="[LEVEL]", help="true, false, low, medium, high or max."),
    ] = None,
    raw: Annotated[bool, Option("--raw", help="The prompt is not put into a template.")] = False,
    tokens: Annotated[
        bool, Option("--tokens", help="Token ids, a JSON array, instead of text.")
    ] = False,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Show the exact prompt that a model would get.

    The model's template is applied as a chat applies it, with its system prompt and messages.
    Standard output carries the text and nothing else, not even a line break at its end. The model
    is not loaded; --tokens reads its vocabulary alone. Token ids begin and end with what the
    model adds by itself, such as BOS, which need not be part of the text. --json and --format
    print one object: the text, and with --tokens the ids.

    FILE is `-` for standard input; without --messages, text there comes before the words of the
    prompt. A file of messages may also be the body of a request to /api/chat.
    """
    form = data_form(format=format, json=json)
    terminal = Terminal()
    if raw and (messages or tools or system is not None or think is not None):
        raise UsageError("--raw goes with a prompt and --tokens only")
    body: dict[str, object] = {}
    turns: Turns = []
    if messages:
        turns, body = _conversation(messages, terminal)
    if tools:
        body["tools"] = json_objects(read_json(tools, terminal), tools)
    if system is not None:
        turns = [turn for turn in turns if turn.get("role") != "system"]
        turns.insert(0, {"role": "system", "content": system})
    reads_input = "-" not in (messages, tools) and not messages
    text = join_prompt(terminal, prompt or []) if reads_input else " ".join(prompt or [])
    if text or not messages:
        turns.append({"role": "user", "content": text})
    if think is not None:
        body["think"] = parse_think(think)
    client = daemon(terminal)
    digest = local_file(client, model, terminal)
    name = digest or model
    with called(model, digest):
        if not raw:
            text = client.render({**body, "model": name, "messages": turns})
        ids = client.tokenize(name, text) if tokens else None
    shown = text if ids is None else json_line(ids)
    record = {"model": model, "prompt": text, "tokens": ids}
    show_value(record, form, terminal, lambda: terminal.data(shown))


def _conversation(file: str, terminal: Terminal) -> tuple[Turns, dict[str, object]]:
    """The turns in a file, and the other fields of a request that stand there."""
    value = read_json(file, terminal)
    if not isinstance(value, dict):
        return json_objects(value, file), {}
    body = {key: value[key] for key in ("tools", "think") if value.get(key) is not None}
    return json_objects(value.get("messages"), file), body
