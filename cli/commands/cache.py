"""`olm cache ls`, `du`, `rm` and `warm`: what is kept of prompts on disk."""

import enum
import sys
from pathlib import Path
from typing import Annotated, Any, Final

from typer import Argument, Option

from olmkit.cli.errors import UsageError
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import DataForm, data_form
from olmkit.cli.records.modellist import age_of
from olmkit.cli.records.recordlist import Column, RecordList, show_value
from olmkit.cli.screen.output import table
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.screen.units import count_text, size_text
from olmkit.cli.settings import daemon
from olmkit.cli.typedpaths import read_errors
from olmkit.engine.client import Client
from olmkit.engine.client.storereplies import forget_prompts, kept_prompts

KINDS: Final = RecordList(
    Column("MODEL", "Model", lambda kind, _: ", ".join(kind["models"]) or "(no model)"),
    Column("WEIGHTS", "Weights", lambda kind, view: view.short(kind["weights"])),
    Column("PROMPTS", "Prompts", lambda kind, _: count_text(kind["prompts"])),
    Column("SIZE", "Size", lambda kind, _: size_text(kind["size"])),
    Column("USED", "Used", lambda kind, view: age_of("used_at", kind, view)),
    quiet="weights",
)
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
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Show, warm or remove what is kept of prompts, so that they need not be computed again."""
    terminal = Terminal()
    if file is not None and verb is not Verb.WARM:
        raise UsageError("--file is a flag of `olm cache warm`")
    if all and verb is not Verb.RM:
        raise UsageError("--all is a flag of `olm cache rm`")
    form = data_form(format=format, json=json)
    if not form.is_text and verb not in (Verb.LS, Verb.DU):
        raise UsageError("--format and --json are flags of `olm cache ls` and `olm cache du`")
    if model and verb in (Verb.LS, Verb.DU):
        raise UsageError(f"`olm cache {verb.value}` takes no model")
    match verb:
        case Verb.LS:
            KINDS.show(kept_prompts(daemon(terminal))["kinds"], form, terminal)
        case Verb.DU:
            _du(kept_prompts(daemon(terminal)), terminal, form)
        case Verb.RM:
            if bool(model) == all:
                raise UsageError("`olm cache rm` takes a model, or --all")
            freed = forget_prompts(daemon(terminal), model)
            terminal.message(f"removed {_prompts(freed['prompts'])}, {size_text(freed['freed'])}\n")
        case Verb.WARM:
            if not model or file is None:
                raise UsageError("`olm cache warm` takes -f FILE and a model")
            _warm(daemon(terminal), model, _text_of(file))


def _du(kept: dict[str, Any], terminal: Terminal, form: DataForm) -> None:
    value = {name: kept[name] for name in ("directory", "size", "limit")}
    value["prompts"] = sum(kind["prompts"] for kind in kept["kinds"])
    limit = size_text(kept["limit"]) if kept["limit"] else "nothing is kept"
    row = (size_text(kept["size"]), limit, count_text(value["prompts"]), kept["directory"])
    titles = ("SIZE", "LIMIT", "PROMPTS", "DIRECTORY")
    fields = dict(zip(("Size", "Limit", "Prompts", "Directory"), row, strict=True))
    show_value(value, form, terminal, lambda: terminal.data(table(titles, [row])), fields=fields)


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
    with read_errors(file):
        if str(file) == "-":
            raw = sys.stdin.buffer.read(_MOST_PROMPT_BYTES + 1)
        else:
            with open(file, "rb") as source:
                raw = source.read(_MOST_PROMPT_BYTES + 1)
    if len(raw) > _MOST_PROMPT_BYTES:
        raise UsageError(f"{file} has over {size_text(_MOST_PROMPT_BYTES)}")
    return raw.decode(errors="replace")


def _prompts(count: int) -> str:
    return f"{count} prompt{'s' * (count != 1)}"
