"""A pull, with its progress on standard error."""

from olmkit.cli.screen.progress import ProgressStyle, progress_display
from olmkit.cli.screen.terminal import Terminal
from olmkit.engine.client import Client


def fetch(
    client: Client,
    model: str,
    terminal: Terminal,
    *,
    quiet: bool = False,
    progress: ProgressStyle = ProgressStyle.AUTO,
    insecure: bool = False,
    quant: str = "",
    revision: str = "",
) -> None:
    """Pulls the model, with progress on stderr."""
    with progress_display(terminal, quiet=quiet, style=progress) as display:
        events = client.pull(model, insecure=insecure, quantization=quant, revision=revision)
        for event in events:
            display.show(event)
