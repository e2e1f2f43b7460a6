"""A pull, with its progress on standard error."""

from typing import TYPE_CHECKING

from olmkit.cli.screen.progress import ProgressStyle, progress_display
from olmkit.cli.screen.terminal import Terminal
from olmkit.engine.client import Client

if TYPE_CHECKING:
    from olmkit.registry.signatures.policy import Rule


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
    rule: "Rule | None" = None,
) -> None:
    """Pulls the model, with progress on stderr; `rule`: whose signature it must have."""
    with progress_display(terminal, quiet=quiet, style=progress) as display:
        events = client.pull(
            model,
            insecure=insecure,
            quantization=quant,
            revision=revision,
            signed_by=[key.base64 for key in rule.keys] if rule else (),
            signed_as=rule.signed_as if rule else (),
        )
        for event in events:
            display.show(event)
