"""The commands of a chat: what a line that starts with `/` does.

A command is told by its whole first word; an unknown one is reported, and not sent to the model.
Source: the commands of https://github.com/ollama/ollama/blob/v0.17.4/cmd/interactive.go
"""

import shlex

from olmkit.cli.chat import slashhelp
from olmkit.cli.chat.asking import parse_think
from olmkit.cli.chat.lineeditor import unquoted
from olmkit.cli.chat.saidturns import export, stats_text, tokens_text
from olmkit.cli.chat.session import Chat
from olmkit.cli.errors import UsageError
from olmkit.cli.screen.showsections import describe
from olmkit.engine.client.replies import ModelDetails
from olmkit.engine.errors import ApiError
from olmkit.modelfile.errors import InvalidParameter
from olmkit.modelfile.parameters import ParameterType, info, parse_value


def obey(chat: Chat, line: str) -> bool:
    """Carries a command out; False when it ends the chat."""
    command, _, rest = line.partition(" ")
    rest = rest.strip()
    match command:
        case "/bye" | "/exit":
            return False
        case "/?" | "/help":
            _help(chat, rest.removeprefix("/"))
        case "/set":
            _set(chat, rest)
        case "/show":
            _show(chat, rest)
        case "/load":
            _load(chat, rest)
        case "/model":
            _model(chat, rest)
        case "/retry":
            if not chat.retry():
                chat.say("There is no question to ask again.")
        case "/undo":
            _undo(chat)
        case "/tokens":
            chat.say(tokens_text(chat))
        case "/stats":
            chat.say(stats_text(chat))
        case "/export":
            _export(chat, rest)
        case "/save":
            _save(chat, rest)
        case "/clear":
            chat.clear()
            chat.say("Cleared session context")
        case "/list":
            _list(chat, rest)
        case _:
            _unknown(chat, command)
    return True


def _unknown(chat: Chat, command: str) -> None:
    chat.say(f"Unknown command '{command}'. Type /? for help")


def _help(chat: Chat, topic: str) -> None:
    texts = {"set": slashhelp.settings, "show": slashhelp.shows, "shortcuts": slashhelp.shortcuts}
    if not topic:
        chat.terminal.message(slashhelp.overview(is_multimodal=chat.details.is_multimodal))
    elif topic in texts:
        chat.terminal.message(texts[topic]())
    else:
        chat.terminal.message(f"No help for '{topic}'. Type /? for help\n")


def _set(chat: Chat, rest: str) -> None:
    word, _, value = rest.partition(" ")
    value = value.strip()
    asking = chat.asking
    match word:
        case "":
            chat.terminal.message(slashhelp.settings())
        case "history" | "nohistory":
            chat.editor.history.saves = word == "history"
        case "wordwrap" | "nowordwrap":
            asking.wraps = word == "wordwrap"
            chat.say(f"Set '{word}' mode.")
        case "markdown" | "nomarkdown":
            asking.markdown = word == "markdown"
            chat.say(f"Set '{word}' mode.")
        case "verbose" | "quiet":
            asking.verbose = word == "verbose"
            chat.say(f"Set '{word}' mode.")
        case "format" if value == "json":
            asking.format = "json"
            chat.say("Set format to 'json' mode.")
        case "format":
            chat.say("Invalid or missing format. For 'json' mode use '/set format json'")
        case "noformat":
            asking.format = None
            chat.say("Disabled format.")
        case "think" | "nothink":
            _set_think(chat, value if word == "think" else "false")
        case "parameter":
            _set_parameter(chat, value)
        case "system":
            _set_system(chat, value)
        case _:
            _unknown(chat, f"/set {word}")


def _set_think(chat: Chat, level: str) -> None:
    try:
        chat.asking.think = parse_think(level)
    except UsageError as error:
        chat.say(str(error))
        return
    if level == "false":
        chat.say("Set 'nothink' mode.")
    else:
        chat.say(f"Set 'think' mode to '{level}'." if level else "Set 'think' mode.")
    if "thinking" not in chat.details.capabilities:
        chat.terminal.message(f'warning: model "{chat.model}" does not support thinking output\n')


def _set_parameter(chat: Chat, rest: str) -> None:
    name, _, text = rest.partition(" ")
    try:
        words = shlex.split(text) if '"' in text else text.split()
    except ValueError:
        words = text.split()
    if not words:
        chat.terminal.message(slashhelp.parameters())
        return
    try:
        is_list = info(name).type is ParameterType.STRINGS
        value = list(words) if is_list else parse_value(name, " ".join(words))
    except InvalidParameter as error:
        near = f', did you mean "{error.suggestion}"?' if error.suggestion else ""
        chat.say(f'Couldn\'t set parameter: "{error}"{near}')
        return
    chat.asking.options[name] = value
    chat.say(f"Set parameter '{name}' to '{', '.join(words)}'")


def _set_system(chat: Chat, text: str) -> None:
    if not text:
        chat.say("Usage:\n  /set system <message>")
        return
    chat.system = unquoted(text)
    chat.say("Set system message.")


def _show(chat: Chat, what: str) -> None:
    details = chat.details
    match what:
        case "":
            chat.terminal.message(slashhelp.shows())
        case "info":
            chat.terminal.message(describe(details))
        case "license":
            chat.say(details.license or "No license was specified for this model.")
        case "modelfile":
            chat.say(chat.overlaid().modelfile)
        case "parameters":
            chat.say(_parameters(chat))
        case "system":
            system = chat.system if chat.system is not None else details.system
            chat.say(f"{system}\n" if system else "No system message was specified for this model.")
        case "template":
            chat.say(details.template or "No prompt template was specified for this model.")
        case _:
            _unknown(chat, f"/show {what}")


def _parameters(chat: Chat) -> str:
    own = [f"  {line}" for line in sorted(chat.details.parameters.splitlines())]
    lines = [
        "Model defined parameters:",
        *(own or ["  No additional parameters were specified for this model."]),
    ]
    if chat.asking.options:
        lines += ["", "User defined parameters:"]
        for name, value in chat.asking.options.items():
            values = value if isinstance(value, list) else [value]
            lines += [f"  {name:<30} {item}" for item in values]
    return "\n".join([*lines, ""])


def _load(chat: Chat, name: str) -> None:
    if not name or " " in name:
        chat.say("Usage:\n  /load <modelname>")
    elif details := _found(chat, name):
        chat.say(f"Loading model '{name}'")
        chat.switch(name, details)


def _model(chat: Chat, name: str) -> None:
    """As `/load`, but what was said stays; without a name, which model it is."""
    if not name:
        chat.say(chat.model)
    elif " " in name:
        chat.say("Usage:\n  /model <modelname>")
    elif details := _found(chat, name):
        chat.say(f"Going on with model '{name}'")
        chat.go_on_with(name, details)


def _found(chat: Chat, name: str) -> ModelDetails | None:
    try:
        return chat.client.show(name)
    except ApiError as error:
        if error.status != 404:
            raise
        hint = f", {error.hint}" if error.hint else ""
        chat.say(f"Couldn't find model '{name}'{hint}")
        return None


def _undo(chat: Chat) -> None:
    question = chat.undo()
    if question is None:
        chat.say("There is nothing to take back.")
    else:
        chat.say(forgotten_text(question))


def forgotten_text(question: str) -> str:
    """What `/undo` says: the question's first line that is not blank, if it has words at all."""
    first = next(iter(question.strip().splitlines()), "")
    return "Forgot the question and its answer" + (f": {first[:60]}" if first else ".")


def _export(chat: Chat, name: str) -> None:
    if not name:
        chat.say("Usage:\n  /export <file.md or file.json>")
    elif not chat.turns:
        chat.say("Nothing was said yet.")
    else:
        chat.say(f"Wrote {export(chat, name)}")


def _save(chat: Chat, name: str) -> None:
    if not name or " " in name:
        chat.say("Usage:\n  /save <modelname>")
        return
    try:
        chat.save(name)
    except ApiError as error:
        if error.code != "invalid_name":
            raise
        chat.say(f"error: The model name '{name}' is invalid")
        return
    chat.say(f"Created new model '{name}'")


def _list(chat: Chat, prefix: str) -> None:
    from olmkit.cli.records.dataform import DataForm
    from olmkit.cli.records.modellist import MODELS, model_record

    models = [m for m in chat.client.models() if m.name.lower().startswith(prefix.lower())]
    MODELS.show(map(model_record, models), DataForm(), chat.terminal)
