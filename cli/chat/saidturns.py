"""What can be done with the turns of a chat: counted, taken back, written down."""

import json
import os
from pathlib import Path
from typing import Final

from olmkit.cli.chat.answer import timings_text
from olmkit.cli.chat.session import Chat
from olmkit.cli.errors import CliError
from olmkit.cli.screen.progress import Waiting
from olmkit.cli.typedpaths import write_errors
from olmkit.engine.client.loadedmodels import find_loaded
from olmkit.engine.client.replies import Timings

SPEAKERS: Final = {"user": "You", "system": "System"}


def tokens_text(chat: Chat) -> str:
    """How much of the context the conversation takes, by the model's own vocabulary."""
    if not chat.turns:
        return "Nothing was said yet."
    with Waiting(chat.terminal):
        prompt = chat.client.render({"model": chat.model, "messages": chat.messages()})
        count = len(chat.client.tokenize(chat.model, prompt))
    contexts = [model.context_tokens for model in find_loaded(chat.client, chat.model)]
    if not contexts or not contexts[0]:
        return f"{count} tokens"
    return f"{count} of {contexts[0]} tokens ({100 * count / contexts[0]:.0f}%)"


def stats_text(chat: Chat) -> str:
    """The sums over all answers of this chat, in the form of `--verbose`."""
    if not chat.timings:
        return "Nothing was answered yet."
    total = Timings(
        total_ns=sum(one.total_ns for one in chat.timings),
        load_ns=sum(one.load_ns for one in chat.timings),
        prompt_tokens=sum(one.prompt_tokens for one in chat.timings),
        prompt_ns=sum(one.prompt_ns for one in chat.timings),
        completion_tokens=sum(one.completion_tokens for one in chat.timings),
        completion_ns=sum(one.completion_ns for one in chat.timings),
    )
    return f"{'answers:':<22}{len(chat.timings)}\n{timings_text(total)}"


def export(chat: Chat, name: str) -> Path:
    """Writes the conversation into a new file: JSON where the name ends so, else Markdown.

    Raises:
        CliError: the file is there already, or cannot be written.
    """
    path = Path(os.path.expanduser(name))
    text = _json(chat) if path.suffix.lower() == ".json" else _markdown(chat)
    # It holds what was said here: for its owner alone, until that one says otherwise.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with write_errors(path):
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileExistsError as error:
            raise CliError(f"{path} is there already", hint="choose another name") from error
        with open(descriptor, "wb") as file:
            file.write(text.encode("utf-8", "replace"))
    return path


def _json(chat: Chat) -> str:
    said = {"model": chat.model, "messages": chat.messages()}
    return json.dumps(said, ensure_ascii=False, indent=2) + "\n"


def _markdown(chat: Chat) -> str:
    parts = [f"# Chat with {chat.model}"]
    for message in chat.messages():
        speaker = SPEAKERS.get(str(message["role"]), chat.model)
        parts.append(f"## {speaker}\n\n{message['content']}")
    return "\n\n".join(parts) + "\n"
