"""The settings of this process, and the daemon that they name."""

from olmkit.cli.screen.terminal import Terminal
from olmkit.engine.client import Client, connect
from olmkit.engine.settings import Settings


def load_settings(terminal: Terminal) -> Settings:
    """The settings of the environment; values that cannot be used are told on stderr."""
    settings = Settings.from_environment()
    for warning in settings.warnings:
        terminal.message(f"warning: {warning}\n")
    return settings


def daemon(terminal: Terminal, *, start: bool = True) -> Client:
    """A client of the daemon; with `start`, its first request starts one that does not run."""
    return connect(load_settings(terminal), start=start)
