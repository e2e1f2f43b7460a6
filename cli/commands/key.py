"""`olm key create`, `list` and `revoke`: who may use the daemon of this home."""

import enum
from datetime import datetime
from typing import Annotated, Final

from typer import Argument, Option

from olmkit.cli.errors import NotFound, UsageError
from olmkit.cli.records.dataflags import (
    FilterFlag,
    FormatFlag,
    JsonFlag,
    QuietFlag,
)
from olmkit.cli.records.dataform import DataForm, Record, json_line
from olmkit.cli.records.filters import contains, glob
from olmkit.cli.records.modellist import age_of
from olmkit.cli.records.recordlist import Column, RecordList
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import load_settings
from olmkit.engine.access.keyfile import Key, KeyFile, new_key
from olmkit.engine.access.modelpatterns import parse_pattern
from olmkit.engine.access.rates import parse_rate
from olmkit.engine.access.scopes import Scope

KEYS: Final = RecordList(
    Column("NAME", "Name", lambda key, _: key["name"]),
    Column("KEY", "Key", lambda key, _: f"{key['begins']}..."),
    Column("SCOPE", "Scope", lambda key, _: ",".join(key["scopes"])),
    Column(
        "MODELS",
        "Models",
        lambda key, _: "all" if key["models"] is None else ",".join(key["models"]),
    ),
    Column("RATE", "Rate", lambda key, _: key["rate"] or ""),
    Column("CREATED", "Created", lambda key, view: age_of("created_at", key, view)),
    Column("LAST USED", "LastUsed", lambda key, view: age_of("last_used_at", key, view)),
    quiet="name",
    filters={"name": glob("name"), "scope": contains("scopes")},
)


class Verb(enum.StrEnum):
    """What to do."""

    CREATE = "create"
    LS = "ls"
    LIST = "list"
    RM = "rm"
    REVOKE = "revoke"


def key(
    verb: Annotated[
        Verb,
        Argument(
            metavar="create|list|revoke",
            help="create: make a key and print it, once. list, ls: show what keys there are. "
            "revoke, rm: refuse a key from now on.",
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
    quiet: QuietFlag = False,
    filters: FilterFlag = None,
    format: FormatFlag = "",
    json: JsonFlag = False,
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
    form = KEYS.form(format=format, json=json, quiet=quiet, filters=filters)
    is_list = verb in (Verb.LS, Verb.LIST)
    if not is_list and (form.template or form.is_quiet or form.filters):
        raise UsageError("--format, --quiet and --filter are flags of `olm key list`")
    if form.is_json and verb in (Verb.REVOKE, Verb.RM):
        raise UsageError("--json is a flag of `olm key list` and `olm key create`")
    if is_list == bool(name):
        rule = "accepts no name" if is_list else "requires a name"
        raise UsageError(f"'olm key {verb}' {rule}")
    file = KeyFile(settings.home)
    if verb is Verb.CREATE:
        made, secret = _created(file, name, scope or [Scope.INFER], models, rate)
        _tell(made, secret, form, terminal)
    elif is_list:
        uses = file.uses()
        KEYS.show((_as_json(one, uses.get(one.sha256)) for one in file.read()), form, terminal)
    else:
        _revoke(file, terminal, name)


def _created(
    file: KeyFile,
    name: str,
    scopes: list[Scope],
    models: list[str] | None,
    rate: str,
) -> tuple[Key, str]:
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
    return made, secret


def _tell(made: Key, secret: str, form: DataForm, terminal: Terminal) -> None:
    if form.is_json:
        terminal.data(json_line({**_as_json(made, None), "key": secret}))
    else:
        terminal.data(f"{secret}\n")
    terminal.message("keep it: it is not shown again\n")


def _as_json(one: Key, used_at: datetime | None) -> Record:
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
