"""Titled sections of rows: folded to the terminal's width by rich, bare columns anywhere else.

rich knows how wide characters are and folds the cell that is too long, below itself. It takes 50 ms
to import, which is why only reports that people read use it, and only on a terminal.
"""

from collections.abc import Mapping, Sequence

from olmkit.cli.screen.output import columns
from olmkit.cli.screen.terminal import Terminal, visible

Rows = Sequence[Sequence[str]]
INDENT_COLUMNS = 2


def show_sections(terminal: Terminal, sections: Mapping[str, Rows]) -> None:
    """Writes the sections that have rows to stdout, a blank line between them.

    A section without a title is its rows alone, not indented.
    """
    shown = {
        title: [[visible(cell) for cell in row] for row in rows]
        for title, rows in sections.items()
        if rows
    }
    if terminal.shows_data:
        terminal.data(_folded(shown, terminal.size[0], has_colour=terminal.has_colour))
    else:
        terminal.data("\n".join(_plain(title, rows) for title, rows in shown.items()))


def _plain(title: str, rows: Rows) -> str:
    if not title:
        return columns(rows)
    return f"{title}\n{columns(rows, indent=INDENT_COLUMNS)}"


def _folded(sections: Mapping[str, Rows], width: int, *, has_colour: bool) -> str:
    from rich.console import Console, Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(
        width=width, force_terminal=True, color_system="standard" if has_colour else None
    )
    blocks = []
    for title, rows in sections.items():
        table = Table.grid(padding=(0, 4, 0, 0))
        for index in range(max(map(len, rows))):
            table.add_column(no_wrap=index == 0 and width >= 60, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        if not title:
            blocks.append(Group(table))
            continue
        blocks.append(Group(Text(title, style="bold"), Padding(table, (0, 0, 0, INDENT_COLUMNS))))
    with console.capture() as capture:
        for index, block in enumerate(blocks):
            if index:
                console.print()
            console.print(block)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())
