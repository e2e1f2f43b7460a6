"""The settings of this process, and the daemon that they name."""

from pathlib import Path

from olmkit.cli.screen.terminal import Terminal
from olmkit.engine.client import Client, connect
from olmkit.engine.settings import Settings


def load_settings(terminal: Terminal, *, project: bool = True) -> Settings:
    """The settings of environment and files; variables that cannot be used are told on stderr.

    With `project` the file of the project counts, which that of the present directory is.
    """
    settings = Settings.load(directory=here() if project else None)
    for warning in settings.warnings:
        terminal.message(f"warning: {warning}\n")
    return settings


def here() -> Path | None:
    """The present directory; None: it was removed."""
    try:
        return Path.cwd()
    except OSError:
        return None


def daemon(terminal: Terminal, *, start: bool = True) -> Client:
    """A client of the daemon; with `start`, its first request starts one that does not run."""
    return client_of(load_settings(terminal), terminal, start=start)


def client_of(settings: Settings, terminal: Terminal, *, start: bool = True) -> Client:
    """The same for settings that are known already."""
    return connect(settings, start=start, on_start=lambda: _tell_of_engine(settings, terminal))


def _tell_of_engine(settings: Settings, terminal: Terminal) -> None:
    """A warning before the first prompt, where the engine was built for another processor."""
    from olmkit.engine.facts.enginelibraries import find_libraries
    from olmkit.engine.facts.suitability import engine_warning

    if text := engine_warning(find_libraries(settings.engine_libraries)):
        terminal.message(f"warning: {text}\nhint: `olm doctor` says what to do\n")
