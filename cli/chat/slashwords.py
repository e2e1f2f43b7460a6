"""What the tabulator offers behind a `/`: the words that may follow what was typed."""

import contextlib
from collections.abc import Iterable
from typing import Final

from olmkit.cli.chat.session import Chat
from olmkit.engine.errors import DaemonError
from olmkit.modelfile.parameters import TABLE

COMMANDS: Final = (
    *("/set", "/show", "/load", "/model", "/save", "/list", "/clear", "/retry", "/undo"),
    *("/tokens", "/stats", "/export", "/help", "/bye"),
)
SETTINGS: Final = (
    *("parameter", "system", "history", "nohistory", "wordwrap", "nowordwrap", "markdown"),
    *("nomarkdown", "format json", "noformat", "verbose", "quiet", "think", "nothink"),
)
SHOWS: Final = ("info", "license", "modelfile", "parameters", "system", "template")
TOPICS: Final = ("set", "show", "shortcuts")


def following(chat: Chat, text: str) -> list[str]:
    """Whole words for the last one that was begun; none where anything may follow."""
    if not text.startswith("/") or "\n" in text:
        return []
    before, _, begun = text.rpartition(" ")
    return [word for word in _words(chat, before.split()) if word.startswith(begun)]


def _words(chat: Chat, before: list[str]) -> Iterable[str]:
    match before:
        case []:
            return COMMANDS
        case ["/set"]:
            return SETTINGS
        case ["/set", "parameter"]:
            return TABLE
        case ["/show"]:
            return SHOWS
        case ["/?" | "/help"]:
            return TOPICS
        case ["/load" | "/model"]:
            with contextlib.suppress(DaemonError):
                return [model.name for model in chat.client.models()]
    return ()
