"""`olm session ls` and `rm`: the chats that are kept by name."""

import enum
from datetime import UTC, datetime
from typing import Annotated, Final

from typer import Argument

from olmkit.cli.chat.sessionfile import SessionFile, kept_sessions
from olmkit.cli.errors import CliError, UsageError
from olmkit.cli.records.dataflags import FilterFlag, FormatFlag, JsonFlag, QuietFlag
from olmkit.cli.records.dataform import Record
from olmkit.cli.records.filters import glob
from olmkit.cli.records.modellist import age_of
from olmkit.cli.records.recordlist import Column, RecordList
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.screen.units import size_text
from olmkit.cli.settings import load_settings

SESSIONS: Final = RecordList(
    Column("NAME", "Name", lambda session, _: session["name"]),
    Column("MODEL", "Model", lambda session, _: visible(session["model"] or "(unreadable)")),
    Column("TURNS", "Turns", lambda session, _: str(session["turns"])),
    Column("SIZE", "Size", lambda session, _: size_text(session["size"])),
    Column("USED", "Used", lambda session, view: age_of("used_at", session, view)),
    quiet="name",
    filters={"name": glob("name"), "model": glob("model")},
)


class Verb(enum.StrEnum):
    """What to do."""

    LS = "ls"
    LIST = "list"
    RM = "rm"


def session(
    verb: Annotated[
        Verb,
        Argument(metavar="ls|rm", help="ls: list the sessions. rm: remove some, and all they say."),
    ],
    names: Annotated[
        list[str] | None, Argument(metavar="[NAME]...", help="rm: names of sessions.")
    ] = None,
    quiet: QuietFlag = False,
    filters: FilterFlag = None,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """List or remove the chats that `olm run MODEL --session NAME` keeps.

    They are files in OLM_HOME/sessions that only their owner can read. The daemon need not run.
    """
    terminal = Terminal()
    form = SESSIONS.form(format=format, json=json, quiet=quiet, filters=filters)
    home = load_settings(terminal).home
    if verb is Verb.RM:
        if not names:
            raise UsageError("'olm session rm' requires at least 1 argument")
        if not form.is_text or form.filters:
            raise UsageError("--format, --json, --quiet and --filter go with `olm session ls`")
        for each in [SessionFile(home, name) for name in names]:
            each.remove()
            terminal.data(f"{each.name}\n")
        return
    if names:
        raise UsageError(f"'olm session {verb}' accepts no arguments")
    SESSIONS.show(map(_record, kept_sessions(home)), form, terminal)


def _record(file: SessionFile) -> Record:
    status = file.path.stat()
    try:
        kept = file.read()
    except CliError:
        kept = None
    return {
        "name": file.name,
        "model": kept.model if kept else "",
        "turns": len(kept.turns) // 2 if kept else 0,
        "size": status.st_size,
        "used_at": datetime.fromtimestamp(status.st_mtime, UTC).isoformat(),
    }
