"""`olm system df` and `olm system prune`: the store's disk space."""

import enum
from datetime import UTC, datetime
from typing import Annotated, Any

from typer import Argument, Option

from olmkit.cli.errors import UsageError
from olmkit.cli.flags import Format
from olmkit.cli.screen.output import json_lines, table
from olmkit.cli.screen.progress import progress_display
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.screen.units import age_text, size_text
from olmkit.cli.settings import daemon
from olmkit.engine.client import Client
from olmkit.engine.client.storereplies import prune, usage

HEADER = ("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE")
ID_DIGITS = 12


class Verb(enum.StrEnum):
    """What to do."""

    DF = "df"
    PRUNE = "prune"


def system(
    verb: Annotated[
        Verb,
        Argument(
            metavar="df|prune",
            help="df: show what disk space goes to. prune: remove what no model needs.",
        ),
    ],
    verbose: Annotated[bool, Option("-v", "--verbose", help="df: list every item.")] = False,
    format: Annotated[
        Format, Option("--format", help="df: a table, or JSON, one object a line.")
    ] = Format.TABLE,
    all: Annotated[
        bool, Option("-a", "--all", help="prune: also downloads that were paused lately.")
    ] = False,
    force: Annotated[bool, Option("-f", "--force", help="prune: do not ask.")] = False,
    dry_run: Annotated[
        bool, Option("--dry-run", help="prune: only say what would be removed.")
    ] = False,
) -> None:
    """Show what disk space goes to, or remove what no model needs."""
    terminal = Terminal()
    if verb is Verb.DF:
        if all or force or dry_run:
            raise UsageError("--all, --force and --dry-run are flags of `olm system prune`")
        _df(usage(daemon(terminal)), terminal, format, verbose=verbose)
    else:
        if verbose or format is not Format.TABLE:
            raise UsageError("--verbose and --format are flags of `olm system df`")
        _prune(daemon(terminal), terminal, force=force, dry_run=dry_run, everything=all)


def rows_of(used: dict[str, Any]) -> list[dict[str, Any]]:
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


def _df(used: dict[str, Any], terminal: Terminal, format_: Format, *, verbose: bool) -> None:
    if format_ is Format.JSON:
        terminal.data(json_lines([used] if verbose else rows_of(used)))
        return
    for reason in used["blocked_by"]:
        terminal.message(f"warning: nothing can be reclaimed: {reason}\n")
    if verbose:
        terminal.data(_details(used))
        return
    rows = []
    for row in rows_of(used):
        percent = 100 * row["reclaimable"] // row["size"] if row["size"] else 0
        reclaimable = f"{size_text(row['reclaimable'])} ({percent}%)"
        rows.append(
            (
                row["type"],
                str(row["total"]),
                str(row["active"]),
                size_text(row["size"]),
                reclaimable,
            )
        )
    terminal.data(table(HEADER, rows))


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
    client: Client, terminal: Terminal, *, force: bool, dry_run: bool, everything: bool
) -> None:
    if not (force or dry_run) and not _is_confirmed(terminal, everything=everything):
        return
    with progress_display(terminal, quiet=not terminal.shows_messages) as display:
        done = prune(client, dry_run=dry_run, everything=everything, on_event=display.show)
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
