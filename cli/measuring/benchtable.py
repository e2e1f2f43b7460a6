"""The table of `olm bench`, alone or beside an earlier run. Pure."""

from collections.abc import Mapping
from typing import Final

from olmkit.cli.measuring.benchrun import BenchRun
from olmkit.cli.measuring.figures import NOISY, Figure
from olmkit.cli.screen.output import table

HEADER: Final = ("MEASURE", "STREAMS", "MEDIAN", "SPREAD")
COMPARED: Final = ("BEFORE", "SPEEDUP", "")


def bench_table(run: BenchRun, before: Mapping[str, Figure] | None = None) -> str:
    """One line a figure; with an earlier run three more columns."""
    rows = [_row(figure, before) for figure in _ordered(run)]
    return table(HEADER if before is None else (*HEADER, *COMPARED), rows)


def notes(run: BenchRun, *, wished_rounds: int, time_s: float) -> list[str]:
    """What a reader of the table should know, one sentence each."""
    told = []
    if run.rounds < wished_rounds:
        done = f"{run.rounds} of {wished_rounds} rounds"
        told.append(f"{done} were finished in {time_s:g} s: a longer --time gives surer figures")
    if any(figure.is_noisy for figure in run.figures.values()):
        told.append(
            f"figures marked ~ vary by more than {NOISY:.0%}: something else used the machine"
        )
    return told


def _ordered(run: BenchRun) -> list[Figure]:
    """The figures of one kind together, in the order in which kinds were first measured."""
    kinds = list(dict.fromkeys(figure.name for figure in run.figures.values()))
    return sorted(run.figures.values(), key=lambda one: (kinds.index(one.name), one.streams))


def _row(figure: Figure, before: Mapping[str, Figure] | None) -> tuple[str, ...]:
    spread = "one sample"
    if len(figure.samples) > 1:
        spread = f"{figure.spread:.0%}{' ~' if figure.is_noisy else ''}"
    row = (figure.title, str(figure.streams), _value(figure), spread)
    if before is None:
        return row
    then = before.get(figure.key)
    if then is None or then.unit != figure.unit:
        return (*row, "-", "-", "")
    speedup = figure.speedup_over(then)
    change = "faster" if speedup > 1 else "slower"
    verdict = "within the noise" if figure.overlaps(then) else change
    return (*row, _value(then), f"{speedup:.2f}", verdict)


def _value(figure: Figure) -> str:
    value = figure.median
    return f"{value:.0f} {figure.unit}" if value >= 100 else f"{value:.1f} {figure.unit}"
