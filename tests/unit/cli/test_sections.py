"""Sections of rows fold to the width of a terminal and stay bare columns anywhere else."""

import io
import subprocess
import sys

import pytest

from olmkit.cli.screen.output import display_width
from olmkit.cli.screen.sections import Rows, show_sections
from olmkit.cli.screen.terminal import Terminal

TEXT = "a value that is far too long for one line of a narrow terminal"
SECTIONS: dict[str, Rows] = {
    "First": [("name", TEXT, "x")],
    "Empty": [],
    "Wide": [("語", "漢字" * 30)],
}


class Screen(io.StringIO):
    def __init__(self, *, columns: int | None) -> None:
        super().__init__()
        self.columns = columns

    def isatty(self) -> bool:
        return self.columns is not None


class SizedTerminal(Terminal):
    @property
    def size(self) -> tuple[int, int]:
        assert isinstance(self.stdout, Screen) and self.stdout.columns
        return self.stdout.columns, 24


def test_off_a_terminal_cells_stay_whole() -> None:
    screen = Screen(columns=None)
    show_sections(Terminal(stdout=screen), SECTIONS)
    first, wide = screen.getvalue().split("\n\n")
    assert first == f"First\n  name    {TEXT}    x"
    assert wide == f"Wide\n  語    {'漢字' * 30}\n"


def test_off_a_terminal_rich_is_not_imported() -> None:
    code = (
        "import sys; from olmkit.cli.screen.sections import show_sections\n"
        "from olmkit.cli.screen.terminal import Terminal\n"
        "show_sections(Terminal(), {'T': [('a', 'b')]}); sys.exit('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"T\n  a    b\n")


@pytest.mark.parametrize("columns", [40, 60, 100])
def test_on_a_terminal_no_line_is_wider_than_it(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen(columns=columns)
    show_sections(SizedTerminal(stdout=screen), SECTIONS)
    lines = screen.getvalue().splitlines()
    assert max(map(display_width, lines)) <= columns
    assert "".join(line.strip().removeprefix("語") for line in lines).count("漢") == 30
    assert "Empty" not in lines


def test_what_comes_from_outside_cannot_drive_the_terminal() -> None:
    screen = Screen(columns=80)
    show_sections(SizedTerminal(stdout=screen), {"T": [("\x1b]52;c;x\x07", "[red]y[/red]")]})
    assert "\x1b]52" not in screen.getvalue()
    assert "[red]y[/red]" in screen.getvalue()
