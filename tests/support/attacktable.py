"""A pytest plugin that ends with a table: attack, bound, measured. `make attack` runs it.

A test says what it measured by `record_property("bound", …)` and `("measured", …)`; of one that
says nothing the table tells whether its assertions held.
"""

import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

Record = Callable[[str, object], None]
"""pytest's `record_property`."""


class Stopwatch:
    """How long something took, for the table alone: no test judges by it."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_s


Row = tuple[str, str, str]
_ROWS = pytest.StashKey[dict[str, Row]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    report = (yield).get_result()
    rows = item.config.stash[_ROWS]
    told = dict(item.user_properties)
    held = rows[item.nodeid][2] != "BROKEN" if item.nodeid in rows else True
    outcome = str(told.get("measured", "held")) if held and not report.failed else "BROKEN"
    attack = item.name.removeprefix("test_").replace("_", " ")
    rows[item.nodeid] = (attack, str(told.get("bound", "as asserted")), outcome)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows: list[Row] = [("attack", "bound", "measured"), *config.stash[_ROWS].values()]
    cut = [(ascii(attack)[1:-1][:90], bound, measured) for attack, bound, measured in rows]
    widths = [max(len(row[column]) for row in cut) for column in range(3)]
    terminalreporter.write_line("")
    for row in cut:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        terminalreporter.write_line("  ".join(cells).rstrip())
