"""`olm key create`, `list` and `revoke`: who may use the daemon of this home."""

import enum
from datetime import UTC, datetime
from typing import Annotated, Any

from typer import Argument, Option

from olmkit.cli.errors import NotFound, UsageError
from olmkit.cli.flags import Format
from olmkit.cli.screen.output import json_lines, table
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.screen.units import age_text
from olmkit.cli.settings import load_settings
from olmkit.engine.access.keyfile import Key, KeyFile, new_key
from olmkit.engine.access.modelpatterns import parse_pattern
from olmkit.engine.access.rates import parse_rate
from olmkit.engine.access.scopes import Scope

HEADER = ("NAME", "KEY", "SCOPE", "MODELS", "RATE", "CREATED", "LAST USED")


class Verb(enum.StrEnum):
    """What to do."""

    CREATE = "create"
    LIST = "list"
    REVOKE = "revoke"


def key(
    verb: Annotated[
        Verb,
        Argument(
            metavar="create|list|revoke",
            help="create: make a key and print it, once. list: show what keys there are. "
            "revoke: refuse a key from now on.",
        ),
    ],
    name: Annotated[str, Argument(metavar="[NAME]", help="What the key is called.")] = "",
    scope: Annotated[
        list[Scope] | None,
        Option(
            "--scope",
            help="create: infer (the default), read or manage, which is all; several add up.",
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        Option("--models", metavar="PATTERN", help="create: only these models, such as qwen*."),
    ] = None,
    rate: Annotated[
        str, Option("--rate", metavar="N/min", help="create: at most so many answers.")
    ] = "",
    format: Annotated[
        Format, Option("--format", help="list: a table, or one JSON object a line.")
    ] = Format.TABLE,
) -> None:
    """Make, list and revoke keys for the API.

    As soon as there is a key, the daemon of this home asks for one on every way in but the
    private socket of its own user. Clients send it as `Authorization: Bearer KEY`, olm itself
    from OLM_API_KEY. The daemon need not run, and is not restarted.
    """
    terminal = Terminal()
    settings = load_settings(terminal)
    if not settings.address.is_local:
        raise UsageError(
            f"keys are made on the machine of the daemon, and {settings.address.url} is another",
            hint="run the command there",
        )
    if verb is not Verb.CREATE and (scope or models or rate):
        raise UsageError("--scope, --models and --rate are flags of `olm key create`")
    if verb is not Verb.LIST and format is not Format.TABLE:
        raise UsageError("--format is a flag of `olm key list`")
    if (verb is Verb.LIST) == bool(name):
        rule = "accepts no name" if name else "requires a name"
        raise UsageError(f"'olm key {verb}' {rule}")
    file = KeyFile(settings.home)
    if verb is Verb.CREATE:
        _create(file, terminal, name, scope or [Scope.INFER], models, rate)
    elif verb is Verb.LIST:
        _list(file, terminal, format)
    else:
        _revoke(file, terminal, name)


def _create(
    file: KeyFile,
    terminal: Terminal,
    name: str,
    scopes: list[Scope],
    models: list[str] | None,
    rate: str,
) -> None:
    try:
        made, secret = new_key(
            name,
            scopes=tuple(dict.fromkeys(scopes)),
            models=tuple(map(parse_pattern, models)) if models else None,
            rate=parse_rate(rate) if rate else None,
        )
        file.add(made)
    except ValueError as error:
        raise UsageError(str(error)) from error
    terminal.data(f"{secret}\n")
    terminal.message("keep it: it is not shown again\n")


def _list(file: KeyFile, terminal: Terminal, format_: Format) -> None:
    uses = file.uses()
    keys = file.read()
    if format_ is Format.JSON:
        terminal.data(json_lines(_as_json(one, uses.get(one.sha256)) for one in keys))
        return
    now = datetime.now(UTC)
    rows = [
        (
            one.name,
            f"{one.begins}...",
            ",".join(one.scopes),
            "all" if one.models is None else ",".join(one.models),
            "" if one.rate is None else str(one.rate),
            age_text(one.created_at, now),
            age_text(uses.get(one.sha256), now),
        )
        for one in keys
    ]
    terminal.data(table(HEADER, rows))


def _as_json(one: Key, used_at: datetime | None) -> dict[str, Any]:
    return {
        "name": one.name,
        "begins": one.begins,
        "scopes": list(one.scopes),
        "models": None if one.models is None else list(one.models),
        "rate": None if one.rate is None else str(one.rate),
        "created_at": one.created_at.isoformat(),
        "last_used_at": None if used_at is None else used_at.isoformat(),
    }


def _revoke(file: KeyFile, terminal: Terminal, name: str) -> None:
    left = file.remove(name)
    if left is None:
        raise NotFound(f"there is no key named {name[:80]}", hint="`olm key list` shows them")
    if left == 0:
        terminal.message("no key is left: on loopback and sockets none is asked for any more\n")
