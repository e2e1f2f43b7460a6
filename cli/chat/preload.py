"""A model loaded before there is anything to ask it."""

from olmkit.cli.chat.asking import Asking
from olmkit.cli.screen.progress import Waiting
from olmkit.cli.screen.terminal import Terminal
from olmkit.engine.client import Client


def load(client: Client, model: str, asking: Asking, terminal: Terminal) -> None:
    """Loads the model, with a spinner."""
    with Waiting(terminal):
        for _ in client.generate(asking.body(model)):
            pass
