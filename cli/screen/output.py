"""Tables on stdout: pure functions from rows to text."""

from collections.abc import Iterable, Sequence

GAP = "    "
"""Gap between two columns, as in Ollama's tables."""


def display_width(text: str) -> int:
    """Columns that a terminal gives to the text."""
    return len(text) if text.isascii() else sum(map(character_width, text))


def character_width(character: str) -> int:
    """0 for marks that join the character before, 2 for wide characters, else 1."""
    if character.isascii():
        return 1
    from wcwidth import wcwidth  # 45 ms to import, and few commands need it

    return max(wcwidth(character), 0)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A left-aligned table without borders, one line a row, header first."""
    return columns([header, *rows])


def columns(rows: Sequence[Sequence[str]], *, indent: int = 0) -> str:
    """Rows of cells as aligned columns; no blanks at the ends of lines, newline at the end."""
    widths: list[int] = []
    for row in rows:
        widths += [0] * (len(row) - len(widths))
        for index, cell in enumerate(row):
            widths[index] = max(widths[index], display_width(cell))
    lines = []
    for row in rows:
        cells = [cell + " " * (widths[i] - display_width(cell)) for i, cell in enumerate(row)]
        lines.append((" " * indent + GAP.join(cells)).rstrip(" ") + "\n")
    return "".join(lines)


def reflow(text: str, width: int) -> list[str]:
    """The text broken at blanks into lines of at most `width` columns; words stay whole."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and display_width(joined) > width:
            lines.append(word)
        else:
            lines[-1] = joined
    return lines
