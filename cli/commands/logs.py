"""`olm logs`: what the daemon wrote."""

import contextlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Final

from typer import Argument, Option

from olmkit.cli.errors import CliError, NotFound, UsageError
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.records.filters import parse_time
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import load_settings
from olmkit.cli.watching.logfiles import LogReader, is_about, is_from, last, parse_line

FIELDS: Final = dict.fromkeys(("time", "level", "msg", "model", "runner"), "")
"""What a template may ask of every line."""


def logs(
    model: Annotated[
        str, Argument(metavar="[MODEL]", help="Only lines about this model and its runner.")
    ] = "",
    follow: Annotated[
        bool, Option("-f", "--follow", help="Go on with what is added, until Ctrl-C.")
    ] = False,
    tail: Annotated[
        int | None,
        Option("-n", "--tail", metavar="N", min=0, help="Begin with the last N lines."),
    ] = None,
    since: Annotated[
        str, Option("--since", metavar="TIME", help="Begin at an age as 10m, or a date.")
    ] = "",
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Show the log of the daemon that olm started in the background.

    The log is read from its files, those that were moved aside because they were full included.
    OLM_DEBUG=1, set where the daemon starts, makes it say more, a runner's own lines included.
    Prompts and answers are never logged. Templates of --format know time, level, msg, model and
    runner, empty where a line does not say, and what else a line has.
    """
    form = data_form(format=format, json=json)
    terminal = Terminal()
    settings = load_settings(terminal)
    if not settings.address.is_local:
        raise UsageError(
            f"the log of the daemon at {settings.address.url} is on its own machine",
            hint="run `olm logs` there",
        )
    begin = parse_time(since, datetime.now(UTC)) if since else None

    def wanted(lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            facts = parse_line(line) if model or begin else {}
            if (not model or is_about(facts, model)) and (not begin or is_from(facts, begin)):
                yield line

    def show(line: str) -> None:
        facts = {} if form.is_text else parse_line(line) or {"msg": line}
        record = facts if form.template is None else FIELDS | facts
        show_value(record, form, terminal, lambda: terminal.data(line + "\n"))

    reader = LogReader(settings.log_file)
    with contextlib.closing(reader):
        try:
            for line in last(wanted(reader.kept()), tail):
                show(line)
        except FileNotFoundError as error:
            raise NotFound(
                f"there is no log at {settings.log_file}",
                hint="a daemon in the foreground or of a service manager logs to its standard"
                " error: `journalctl --user -u olm`",
            ) from error
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CliError(f"cannot read {error.filename}: {reason}") from error
        if follow:
            for line in wanted(reader.follow()):
                show(line)
