"""A model loaded before there is anything to ask it."""

from olmkit.cli.chat.asking import Asking
from olmkit.cli.screen.progress import Waiting
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.engine.client import Client
from olmkit.engine.client.loadedmodels import find_loaded


def load(client: Client, model: str, asking: Asking, terminal: Terminal) -> None:
    """Loads the model, with a spinner that says how far it is."""
    with Waiting(terminal) as waiting:
        for chunk in client.generate(asking.body(model), tells_wait=waiting.is_shown):
            waiting.tell(chunk.waits_for)


def say_notes(client: Client, name: str, terminal: Terminal) -> None:
    """In which ways the model has less than was asked for, if it is still loaded."""
    if not any(model.notes for model in client.running()):
        return
    for model in find_loaded(client, name):
        for note in model.notes:
            terminal.message(f"warning: {visible(note)}\n")
