"""`olm config`: settings in `olm.toml`, and where each comes from."""

import enum
import os
from pathlib import Path
from typing import Annotated, Final

from typer import Argument, Option

from olmkit.cli.errors import CliError, NotFound, UsageError
from olmkit.cli.nearest import near_hint
from olmkit.cli.records.dataflags import FilterFlag, FormatFlag, JsonFlag, QuietFlag
from olmkit.cli.records.dataform import Record
from olmkit.cli.records.filters import glob
from olmkit.cli.records.recordlist import Column, RecordList, show_value
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import here, load_settings
from olmkit.cli.typedpaths import write_errors
from olmkit.engine.configuration.configedit import (
    given_of,
    parse_value,
    remove_value,
    write_value,
)
from olmkit.engine.configuration.configfiles import (
    FILE_NAME,
    PROJECT_KEYS,
    PROJECT_ONLY_TRUE,
    SYSTEM_FILE,
    Scope,
    find_project_file,
    user_file,
)
from olmkit.engine.configuration.settingreader import Reading
from olmkit.engine.diagnosis.variables import is_secret, setting_text
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.remotes import find_home
from olmkit.engine.settings import Settings

HIDDEN: Final = "(set, not shown)"
_COLUMNS: Final = (
    Column("KEY", "Key", lambda setting, _: setting["key"]),
    Column("VALUE", "Value", lambda setting, _: setting["value"]),
)
_FILTERS: Final = {"key": glob("key"), "origin": glob("origin")}
SETTINGS: Final = RecordList(*_COLUMNS, quiet="key", filters=_FILTERS)
WITH_ORIGINS: Final = RecordList(
    *_COLUMNS,
    Column("ORIGIN", "Origin", lambda setting, _: setting["origin"]),
    quiet="key",
    filters=_FILTERS,
)


class Verb(enum.StrEnum):
    """What to do."""

    GET = "get"
    SET = "set"
    UNSET = "unset"
    LS = "ls"
    LIST = "list"


def config(
    verb: Annotated[
        Verb,
        Argument(
            metavar="get|set|unset|list",
            help="get: print a setting. set: write it into a file. unset: take it out of the file. "
            "list, ls: print all.",
        ),
    ],
    key: Annotated[str, Argument(metavar="[KEY]", help="A setting, such as keep_alive.")] = "",
    value: Annotated[
        str | None, Argument(metavar="[VALUE]", help="set: what it shall be; lists with commas.")
    ] = None,
    project: Annotated[
        bool, Option("--project", help="set, unset: the project's file, not your own.")
    ] = False,
    system: Annotated[
        bool, Option("--system", help=f"set, unset: {SYSTEM_FILE}, for all users.")
    ] = False,
    origin: Annotated[
        bool, Option("--origin", help="Say which variable, or line of a file, each comes from.")
    ] = False,
    quiet: QuietFlag = False,
    filters: FilterFlag = None,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Show or change the settings that olm.toml(5) describes.

    Variables win over the project's file, that over your own, that over the system's. A key is
    the name of a variable without OLM_, in small letters.

    set and unset change one line and leave the rest of the file as it is, comments too. What
    the daemon goes by counts when it is started again.
    """
    terminal = Terminal()
    if project and system:
        raise UsageError("only one of --project and --system can be given")
    listing = WITH_ORIGINS if origin else SETTINGS
    form = listing.form(format=format, json=json, quiet=quiet, filters=filters)
    is_plain = form.is_text and not origin and not form.filters
    _check_words(verb, key, value, is_shown=not is_plain, is_written=project or system)
    if verb in (Verb.LIST, Verb.LS):
        settings = load_settings(terminal)
        records = [_record(settings, one, masks=True) for one in settings.readings.values()]
        listing.show(records, form, terminal)
    elif verb is Verb.GET:
        settings = load_settings(terminal)
        record = _record(settings, _reading(settings, key), masks=False)
        text = record["value"] + (f"\t{record['origin']}" if origin else "")
        show_value(record, form, terminal, lambda: terminal.data(f"{text}\n"))
    else:
        scope = Scope.PROJECT if project else Scope.SYSTEM if system else Scope.USER
        _change(terminal, scope, key, value)


def _check_words(
    verb: Verb, key: str, value: str | None, *, is_shown: bool, is_written: bool
) -> None:
    takes = {Verb.LIST: 0, Verb.LS: 0, Verb.SET: 2}.get(verb, 1)
    given = bool(key) + (value is not None)
    if given != takes:
        rule = ("accepts no arguments", "requires a key", "requires a key and a value")[takes]
        raise UsageError(f"'olm config {verb}' {rule}", hint="`olm config list` shows the keys")
    if is_written and verb not in (Verb.SET, Verb.UNSET):
        raise UsageError("--project and --system are flags of `olm config set` and `unset`")
    if is_shown and verb in (Verb.SET, Verb.UNSET):
        raise UsageError("flags of output are those of `olm config get` and `list`")


def _reading(settings: Settings, key: str) -> Reading:
    if found := settings.readings.get(key):
        return found
    by_variable = key.removeprefix("OLM_").lower()
    raise UsageError(
        f"there is no setting {key[:80]!r}",
        hint=near_hint(by_variable, settings.readings) or "`olm config list` shows them",
    )


def _record(settings: Settings, reading: Reading, *, masks: bool) -> Record:
    is_hidden = masks and reading.text is not None and is_secret(reading.variable)
    return {
        "key": reading.key,
        "value": HIDDEN if is_hidden else _value(settings, reading),
        "origin": settings.source_of(reading.field),
        "variable": reading.variable,
        "takes": "|".join(reading.choices) or str(reading.kind),
    }


def _value(settings: Settings, reading: Reading) -> str:
    """What it was set to, as it was written; else the default."""
    if reading.text is not None:
        return reading.text
    return setting_text(settings, reading)


def _change(terminal: Terminal, scope: Scope, key: str, text: str | None) -> None:
    # What is wrong in a file must not keep anybody from mending it with this command.
    known = Settings.from_environment()
    if text is not None and scope is Scope.PROJECT and key not in PROJECT_KEYS:
        raise UsageError(
            f"{key!r} cannot be set by a project's file",
            hint=f"a project may set {', '.join(sorted(PROJECT_KEYS))}",
        )
    path = _file(scope)
    try:
        with write_errors(path):
            if text is None:
                if not remove_value(path, key):
                    _reading(known, key)
                    raise NotFound(f"{path} does not set {key!r}")
            else:
                value = parse_value(text, _reading(known, key).kind)
                if scope is Scope.PROJECT and key in PROJECT_ONLY_TRUE and value is False:
                    raise UsageError(f"{key!r} can only be true in a project's file")
                alone = {"HOME": os.environ.get("HOME", "/")}
                Settings.from_environment(alone, {key: given_of(key, value)})
                write_value(path, key, value)
    except InvalidRequest as error:
        is_value = str(error).startswith("the value: ")
        hint = None if is_value else error.hint
        raise UsageError(str(error).removeprefix("the value: "), hint=hint) from error
    for name in (f"OLM_{key.upper()}", f"OLLAMA_{key.upper()}"):
        if os.environ.get(name):
            terminal.message(f"warning: {name} is set, and wins over {path}\n")
            break
    _tell_of_daemon(terminal, scope)


def _file(scope: Scope) -> Path:
    """The file that a scope's settings are written to."""
    if scope is Scope.SYSTEM:
        return SYSTEM_FILE
    directory = here()
    if scope is Scope.PROJECT:
        if directory is None:
            raise CliError("the present directory is gone")
        return find_project_file(directory) or directory / FILE_NAME
    path = user_file(os.environ, find_home(os.environ))
    if path is None:
        raise CliError("there is no home to keep settings in", hint="set HOME or OLM_CONFIG")
    return path


def _tell_of_daemon(terminal: Terminal, scope: Scope) -> None:
    from olmkit.engine.client.launch import find_daemon

    try:
        settings = Settings.load()
    except InvalidRequest as error:
        terminal.message(f"warning: {error}\n")
        return
    if scope is not Scope.PROJECT and settings.address.is_local and find_daemon(settings):
        terminal.message(
            "a daemon runs with the settings of its start; `olm serve --stop` ends it, and the "
            "next command starts one\n"
        )
