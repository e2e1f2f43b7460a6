"""A run of `olm bench` as JSON: printed, saved, and read again to be compared with."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from olmkit import __version__
from olmkit.cli.building.jsonfiles import read_json
from olmkit.cli.errors import UsageError
from olmkit.cli.measuring.benchrun import BenchRun
from olmkit.cli.measuring.figures import Figure, figure_from
from olmkit.cli.measuring.workloads import Sizes
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.typedpaths import write_errors

FORM: Final = 1
"""The version of the file's form."""
_SUBJECTS: Final = ("model", "digest", "machine", "device", "context", "options", "daemon")
"""What should be the same where two runs are compared, but for what was changed on purpose."""
_MOST_TOKENS: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRun:
    """An earlier run."""

    sizes: Sizes | None
    """None: of an embedding model."""
    figures: Mapping[str, Figure]
    subjects: Mapping[str, object]
    """What was measured, by the names above."""


def run_json(run: BenchRun, subjects: Mapping[str, object], *, generates: bool) -> dict[str, Any]:
    """The object of a run."""
    return {
        "olm_bench": FORM,
        "version": __version__,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **subjects,
        "sizes": run.sizes.as_json() if generates else None,
        "rounds": run.rounds,
        "load_ns": run.load_ns,
        "figures": [figure.as_json() for figure in run.figures.values()],
    }


def compared_json(run: BenchRun, saved: SavedRun) -> list[dict[str, object]]:
    """For every figure of both runs, how it changed."""
    return [
        {
            "name": now.name,
            "streams": now.streams,
            "before": round(before.median, 3),
            "speedup": round(now.speedup_over(before), 3),
            "is_within_noise": now.overlaps(before),
        }
        for key, now in run.figures.items()
        if (before := saved.figures.get(key)) is not None and before.unit == now.unit
    ]


def save(path: str, value: Mapping[str, Any]) -> None:
    """Writes the file, whole or not at all. Raises: CliError."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    beside = f"{path}.{os.getpid()}.tmp"
    with write_errors(path):
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(beside, path)


def read_saved(path: str, terminal: Terminal) -> SavedRun:
    """A run from a file.

    Raises:
        UsageError: it is none, or of another version.
        NotFound: no such file.
    """
    value = read_json(path, terminal)
    if not isinstance(value, dict) or "olm_bench" not in value:
        raise UsageError(f"{path} is no run of `olm bench --save`")
    if value["olm_bench"] != FORM:
        raise UsageError(f"{path} is a run of another version of olm")
    try:
        sizes = value["sizes"]
        figures = [figure_from(one) for one in value["figures"]]
        return SavedRun(
            sizes=None if sizes is None else _sizes(sizes),
            figures={figure.key: figure for figure in figures},
            subjects={name: value.get(name) for name in _SUBJECTS},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} lacks a part of its run: {error}") from error


def _sizes(value: Mapping[str, Any]) -> Sizes:
    sizes = Sizes(**{name: int(number) for name, number in value.items()})
    if not all(1 <= number <= _MOST_TOKENS for number in sizes.as_json().values()):
        raise ValueError("sizes out of range")
    return sizes


def differences(saved: SavedRun, subjects: Mapping[str, object]) -> list[str]:
    """One line for each thing in which the runs differ beside their figures."""
    return [
        f"{name} was {_shown(saved.subjects.get(name))}, is {_shown(subjects.get(name))}"
        for name in _SUBJECTS
        if saved.subjects.get(name) != subjects.get(name)
    ]


def _shown(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
