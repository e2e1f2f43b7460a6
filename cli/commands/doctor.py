"""`olm doctor`: what is wrong with this installation, and what to do."""

import json as jsonlib
import os
from dataclasses import asdict
from typing import Annotated

from typer import Exit, Option

from olmkit.cli.screen.output import columns
from olmkit.cli.screen.terminal import Terminal, visible
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
    found = examine(Settings.from_environment(), os.environ)
    is_well = all(check.verdict is not Verdict.FAILED for check in found)
    if json:
        said = {"ok": is_well, "checks": [asdict(check) for check in found]}
        terminal.data(jsonlib.dumps(said, indent=2, ensure_ascii=False) + "\n")
    else:
        terminal.data(text_of(found))
    if not is_well:
        raise Exit(1)


def text_of(found: list[Check]) -> str:
    """A line a check, and below it what to do; a sentence that sums them up at the end."""
    rows: list[tuple[str, ...]] = []
    for check in found:
        rows.append((MARKS[check.verdict], check.name, visible(check.text)))
        if check.hint:
            rows.append(("", "", f"-> {visible(check.hint)}"))
    failed = sum(check.verdict is Verdict.FAILED for check in found)
    warned = sum(check.verdict is Verdict.WARNING for check in found)
    end = "all is well"
    if failed or warned:
        end = f"{_count(failed, 'failure')}, {_count(warned, 'warning')}"
    return f"{columns(rows)}\n{end}\n"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
