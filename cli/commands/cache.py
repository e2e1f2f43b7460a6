"""`olm cache ls`, `du`, `rm` and `warm`: what is kept of prompts on disk."""

import enum
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from olmkit.cli.errors import NotFound, UsageError
from olmkit.cli.flags import Format
from olmkit.cli.screen.output import json_lines, table
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.screen.units import age_text, count_text, size_text
from olmkit.cli.settings import daemon
from olmkit.engine.client import Client
from olmkit.engine.client.storereplies import forget_prompts, kept_prompts

HEADER = ("MODEL", "WEIGHTS", "PROMPTS", "SIZE", "USED")
_ID_CHARACTERS = len("sha256:") + 12
_MOST_PROMPT_BYTES = 16 << 20


class Verb(enum.StrEnum):
    """What to do."""

    LS = "ls"
    DU = "du"
    RM = "rm"
    WARM = "warm"


def cache(
    verb: Annotated[
        Verb,
        Argument(
            metavar="ls|du|rm|warm",
            help="ls: of which models prompts are kept. du: how much in all. rm: remove those of"
            " a model, or all. warm: compute a system message ahead.",
        ),
    ],
    model: Annotated[str, Argument(metavar="[MODEL]", help="Name of a model.")] = "",
    file: Annotated[
        Path | None, Option("-f", "--file", help="warm: the system message; - reads stdin.")
    ] = None,
    all: Annotated[bool, Option("-a", "--all", help="rm: of all models.")] = False,
    format: Annotated[
        Format, Option("--format", help="ls, du: a table, or JSON, one object a line.")
    ] = Format.TABLE,
) -> None:
    """Show, warm or remove what is kept of prompts, so that they need not be computed again."""
    terminal = Terminal()
    if file is not None and verb is not Verb.WARM:
        raise UsageError("--file is a flag of `olm cache warm`")
    if all and verb is not Verb.RM:
        raise UsageError("--all is a flag of `olm cache rm`")
    if format is not Format.TABLE and verb not in (Verb.LS, Verb.DU):
        raise UsageError("--format is a flag of `olm cache ls` and `olm cache du`")
    if model and verb in (Verb.LS, Verb.DU):
        raise UsageError(f"`olm cache {verb.value}` takes no model")
    match verb:
        case Verb.LS:
            _ls(kept_prompts(daemon(terminal)), terminal, format)
        case Verb.DU:
            _du(kept_prompts(daemon(terminal)), terminal, format)
        case Verb.RM:
            if bool(model) == all:
                raise UsageError("`olm cache rm` takes a model, or --all")
            freed = forget_prompts(daemon(terminal), model)
            terminal.message(f"removed {_prompts(freed['prompts'])}, {size_text(freed['freed'])}\n")
        case Verb.WARM:
            if not model or file is None:
                raise UsageError("`olm cache warm` takes -f FILE and a model")
            _warm(daemon(terminal), model, _text_of(file))


def _ls(kept: dict[str, Any], terminal: Terminal, format_: Format) -> None:
    if format_ is Format.JSON:
        terminal.data(json_lines(kept["kinds"]))
        return
    now = datetime.now(UTC)
    rows = [
        (
            ", ".join(kind["models"]) or "(no model)",
            kind["weights"][:_ID_CHARACTERS].removeprefix("sha256:"),
            count_text(kind["prompts"]),
            size_text(kind["size"]),
            age_text(datetime.fromisoformat(kind["used_at"]), now),
        )
        for kind in kept["kinds"]
    ]
    terminal.data(table(HEADER, rows))


def _du(kept: dict[str, Any], terminal: Terminal, format_: Format) -> None:
    prompts = sum(kind["prompts"] for kind in kept["kinds"])
    if format_ is Format.JSON:
        facts = {name: kept[name] for name in ("directory", "size", "limit")}
        terminal.data(json_lines([facts | {"prompts": prompts}]))
        return
    limit = size_text(kept["limit"]) if kept["limit"] else "nothing is kept"
    row = (size_text(kept["size"]), limit, count_text(prompts), kept["directory"])
    terminal.data(table(("SIZE", "LIMIT", "PROMPTS", "DIRECTORY"), [row]))


def _warm(client: Client, model: str, system: str) -> None:
    """Has the model read the system message of a conversation that has not begun."""
    message = {"role": "system", "content": system}
    body = {
        "model": model,
        "messages": [message, {"role": "user", "content": "."}],
        "stream": False,
        "options": {"num_predict": 1},
    }
    client.request("POST", "/api/chat", body, timeout_s=None)


def _text_of(file: Path) -> str:
    try:
        if str(file) == "-":
            raw = sys.stdin.buffer.read(_MOST_PROMPT_BYTES + 1)
        else:
            with open(file, "rb") as source:
                raw = source.read(_MOST_PROMPT_BYTES + 1)
    except OSError as error:
        raise NotFound(f"{file} cannot be read: {error.strerror or error}") from error
    if len(raw) > _MOST_PROMPT_BYTES:
        raise UsageError(f"{file} has over {size_text(_MOST_PROMPT_BYTES)}")
    return raw.decode(errors="replace")


def _prompts(count: int) -> str:
    return f"{count} prompt{'s' * (count != 1)}"
