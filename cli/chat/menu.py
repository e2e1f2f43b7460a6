"""What `olm` alone offers on a terminal: a few lines, and one key with Enter."""

from pathlib import Path
from typing import Final

from olmkit.cli.screen.terminal import Terminal, visible

MAX_NAME_BYTES: Final = 1024
FIRST_MODEL: Final = "demo"


def last_model(home: Path) -> str | None:
    """The model of the last chat; None: there was none."""
    try:
        with open(_file(home), encoding="utf-8") as file:
            return file.read(MAX_NAME_BYTES).strip() or None
    except (OSError, ValueError):
        return None


def remember_model(home: Path, model: str) -> None:
    """Keeps the model of this chat for the menu; where that fails the menu offers another."""
    from olmkit.registry.replacing import write_in_place

    try:
        write_in_place(_file(home), f"{model}\n")
    except (OSError, UnicodeError):
        return


def choose(terminal: Terminal, home: Path, version: str) -> list[str]:
    """The words of the command that the user picks; none: to leave."""
    model = last_model(home)
    rows = {
        "1": ["run", model or FIRST_MODEL],
        "2": ["ls"],
        "3": ["doctor"],
        "4": ["help"],
        "q": [],
    }
    about = f"{visible(model)}, the last model" if model else f"{FIRST_MODEL}, a small model"
    terminal.data(
        f"olm {version}\n\n"
        f"  1  Chat with {about}\n"
        "  2  List models\n"
        "  3  Check this installation\n"
        "  4  Help\n"
        "  q  Leave\n\n"
    )
    while True:
        terminal.data("Choose [1]: ")
        line = terminal.stdin.readline()
        if not line:
            terminal.data("\n")
            return []
        word = line.strip().lower() or "1"
        if word in rows:
            return rows[word]
        terminal.data(f"There is no choice '{word[:20]}'.\n")


def _file(home: Path) -> Path:
    return home / "last-model"
