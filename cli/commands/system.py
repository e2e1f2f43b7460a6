"""`olm system df` and `olm system prune`: the store's disk space."""

import enum
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from typer import Argument, Option

from olmkit.cli.errors import UsageError
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import DataForm, Record, json_line
from olmkit.cli.records.recordlist import Column, RecordList, show_value
from olmkit.cli.screen.output import table
from olmkit.cli.screen.progress import progress_display
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.screen.units import age_text, size_text
from olmkit.cli.settings import daemon
from olmkit.engine.client import Client
from olmkit.engine.client.storereplies import prune, usage

ID_DIGITS: Final = 12


class Verb(enum.StrEnum):
    """What to do."""

    DF = "df"
    PRUNE = "prune"
    INFO = "info"


def system(
    verb: Annotated[
        Verb,
        Argument(
            metavar="df|prune|info",
            help="df: show what disk space goes to. prune: remove what no model needs. info: the "
            "same as `olm info`.",
        ),
    ],
    verbose: Annotated[bool, Option("-v", "--verbose", help="df: list every item.")] = False,
    format: FormatFlag = "",
    json: JsonFlag = False,
    all: Annotated[
        bool, Option("-a", "--all", help="prune: also downloads that were paused lately.")
    ] = False,
    force: Annotated[bool, Option("-f", "--force", help="prune: do not ask.")] = False,
    dry_run: Annotated[
        bool, Option("--dry-run", help="prune: only say what would be removed.")
    ] = False,
) -> None:
    """Show what disk space goes to, or remove what no model needs."""
    form = KINDS_OF_USE.form(format=format, json=json)
    terminal = Terminal()
    if verb is not Verb.PRUNE and (all or force or dry_run):
        raise UsageError("--all, --force and --dry-run are flags of `olm system prune`")
    if verb is not Verb.DF and verbose:
        raise UsageError("--verbose is a flag of `olm system df`")
    match verb:
        case Verb.DF:
            _df(usage(daemon(terminal)), terminal, form, verbose=verbose)
        case Verb.PRUNE:
            if form.template:
                raise UsageError("`olm system prune` takes --json, but no template")
            if force or dry_run or _is_confirmed(terminal, everything=all):
                _prune(daemon(terminal), terminal, form, dry_run=dry_run, everything=all)
        case Verb.INFO:
            from olmkit.cli.records.machinefacts import show_facts
            from olmkit.cli.settings import here
            from olmkit.engine.settings import Settings

            show_facts(Settings.load(directory=here()), form, terminal)


def rows_of(used: dict[str, Any]) -> list[Record]:
    """The kinds of things that take space; sizes in bytes."""
    models, blobs, partials = used["models"], used["blobs"], used["partials"]
    allocated = sum(partial["allocated"] for partial in partials)
    idle = sum(partial["allocated"] for partial in partials if not partial["running"])
    loaded = {model["digest"] for model in models if model["loaded"]}
    return [
        {
            "type": "Models",
            "total": len({model["digest"] for model in models}),
            "active": len(loaded),
            "size": used["models_size"],
            "reclaimable": 0,
        },
        {
            "type": "Unused blobs",
            "total": len(blobs),
            "active": 0,
            "size": sum(blob["size"] for blob in blobs),
            "reclaimable": used["freed"],
        },
        {
            "type": "Partial downloads",
            "total": len(partials),
            "active": sum(partial["running"] for partial in partials),
            "size": allocated,
            "reclaimable": idle,
        },
    ]


def _reclaimable(row: Record) -> str:
    percent = 100 * row["reclaimable"] // row["size"] if row["size"] else 0
    return f"{size_text(row['reclaimable'])} ({percent}%)"


KINDS_OF_USE: Final = RecordList(
    Column("TYPE", "Type", lambda row, _: row["type"]),
    Column("TOTAL", "TotalCount", lambda row, _: str(row["total"])),
    Column("ACTIVE", "Active", lambda row, _: str(row["active"])),
    Column("SIZE", "Size", lambda row, _: size_text(row["size"])),
    Column("RECLAIMABLE", "Reclaimable", lambda row, _: _reclaimable(row)),
    quiet="type",
)


def _df(used: dict[str, Any], terminal: Terminal, form: DataForm, *, verbose: bool) -> None:
    if form.is_text:
        for reason in used["blocked_by"]:
            terminal.message(f"warning: nothing can be reclaimed: {reason}\n")
    if verbose:
        show_value(used, form, terminal, lambda: terminal.data(_details(used)))
    else:
        KINDS_OF_USE.show(rows_of(used), form, terminal)


def _details(used: dict[str, Any]) -> str:
    now = datetime.now(UTC)
    models = [
        (
            visible(model["name"]),
            model["digest"][:ID_DIGITS],
            age_text(datetime.fromisoformat(model["modified_at"]), now),
            size_text(model["size"]),
            size_text(model["size"] - model["unique"]),
            size_text(model["unique"]),
        )
        for model in used["models"]
    ]
    blobs = [(blob["digest"], size_text(blob["size"])) for blob in used["blobs"]]
    partials = [
        (
            visible(partial["name"]),
            size_text(partial["size"]),
            size_text(partial["completed"]),
            "running" if partial["running"] else "paused",
        )
        for partial in used["partials"]
    ]
    return "\n".join(
        (
            "Models space usage:\n",
            table(("NAME", "ID", "MODIFIED", "SIZE", "SHARED SIZE", "UNIQUE SIZE"), models),
            "Unused blobs space usage:\n",
            table(("DIGEST", "SIZE"), blobs),
            "Partial downloads space usage:\n",
            table(("NAME", "SIZE", "COMPLETED", "STATE"), partials),
        )
    )


def _prune(
    client: Client, terminal: Terminal, form: DataForm, *, dry_run: bool, everything: bool
) -> None:
    with progress_display(terminal, quiet=not terminal.shows_messages) as display:
        done = prune(client, dry_run=dry_run, everything=everything, on_event=display.show)
    if form.is_json:
        terminal.data(json_line(done))
        return
    for reason in done["blocked_by"]:
        terminal.message(f"warning: no blob is removed: {reason}\n")
    for title, names in (
        ("blobs", [f"deleted: {blob['digest']}" for blob in done["blobs"]]),
        ("partial downloads", [f"deleted: {partial['name']}" for partial in done["partials"]]),
    ):
        if names:
            lines = "\n".join(names)
            verb = "Would delete" if dry_run else "Deleted"
            text = lines.replace("deleted: ", "") if dry_run else lines
            terminal.data(f"{verb} {title}:\n{visible(text)}\n\n")
    would = "Space that would be reclaimed" if dry_run else "Total reclaimed space"
    terminal.data(f"{would}: {size_text(done['freed'])}\n")


def _is_confirmed(terminal: Terminal, *, everything: bool) -> bool:
    age = "" if everything else " that nobody went on with for a week"
    terminal.data(
        "WARNING! This will remove:\n"
        "  - all blobs that no model needs\n"
        f"  - all unfinished downloads{age}\n\n"
        "Are you sure you want to continue? [y/N] "
    )
    return terminal.stdin.readline().strip() in ("y", "Y")
