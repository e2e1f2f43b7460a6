"""`olm doctor`: what is wrong with this installation, and what to do."""

import os
from dataclasses import asdict

from typer import Exit

from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.sections import show_sections
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import here
from olmkit.engine.diagnosis.examination import examine
from olmkit.engine.diagnosis.verdicts import Check, Verdict
from olmkit.engine.settings import Settings

MARKS = {Verdict.OK: "ok", Verdict.WARNING: "WARN", Verdict.FAILED: "FAIL"}


def doctor(format: FormatFlag = "", json: JsonFlag = False) -> None:
    """Check this installation and say for each failure what to do.

    Ends with 1 if a check failed; warnings alone are no failure. Starts no daemon and needs no
    engine that works.
    """
    form = data_form(format=format, json=json)
    terminal = Terminal()
    found = examine(Settings.load(directory=here()), os.environ)
    is_well = all(check.verdict is not Verdict.FAILED for check in found)
    said = {"ok": is_well, "checks": [asdict(check) for check in found]}
    show_value(said, form, terminal, lambda: _tell(found, terminal))
    if not is_well:
        raise Exit(1)


def _tell(found: list[Check], terminal: Terminal) -> None:
    show_sections(terminal, {"": rows_of(found)})
    terminal.data(f"\n{summary_of(found)}\n")


def rows_of(found: list[Check]) -> list[tuple[str, ...]]:
    """A row a check, and below it what to do."""
    rows: list[tuple[str, ...]] = []
    for check in found:
        rows.append((MARKS[check.verdict], check.name, check.text))
        if check.hint:
            rows.append(("", "", f"-> {check.hint}"))
    return rows


def summary_of(found: list[Check]) -> str:
    """One sentence that sums all checks up."""
    failed = sum(check.verdict is Verdict.FAILED for check in found)
    warned = sum(check.verdict is Verdict.WARNING for check in found)
    if failed or warned:
        return f"{_count(failed, 'failure')}, {_count(warned, 'warning')}"
    return "all is well"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
