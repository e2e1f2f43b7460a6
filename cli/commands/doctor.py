"""`olm doctor`: what is wrong with this installation, and what to do."""

import json as jsonlib
import os
from dataclasses import asdict
from typing import Annotated

from typer import Exit, Option

from olmkit.cli.screen.sections import show_sections
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import here
from olmkit.engine.diagnosis.examination import examine
from olmkit.engine.diagnosis.verdicts import Check, Verdict
from olmkit.engine.settings import Settings

MARKS = {Verdict.OK: "ok", Verdict.WARNING: "WARN", Verdict.FAILED: "FAIL"}


def doctor(
    json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check this installation and say for each failure what to do.

    Ends with 1 if a check failed; warnings alone are no failure. Starts no daemon and needs no
    engine that works.
    """
    terminal = Terminal()
    found = examine(Settings.load(directory=here()), os.environ)
    is_well = all(check.verdict is not Verdict.FAILED for check in found)
    if json:
        said = {"ok": is_well, "checks": [asdict(check) for check in found]}
        terminal.data(jsonlib.dumps(said, indent=2, ensure_ascii=False) + "\n")
    else:
        show_sections(terminal, {"": rows_of(found)})
        terminal.data(f"\n{summary_of(found)}\n")
    if not is_well:
        raise Exit(1)


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
