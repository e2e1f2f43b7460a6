"""A model built by the daemon from a Modelfile and the local files that it names."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from olmkit.cli.building.handover import hand_over
from olmkit.cli.screen.progress import ProgressStyle, progress_display
from olmkit.cli.screen.terminal import Terminal
from olmkit.engine.client import Client

if TYPE_CHECKING:
    from olmkit.cli.building.modelfiles import Parts
    from olmkit.modelfile.instructions import Modelfile


def build_model(
    client: Client,
    name: str,
    modelfile: "Modelfile",
    parts: "Parts",
    options: Mapping[str, object],
    terminal: Terminal,
    *,
    progress: ProgressStyle = ProgressStyle.AUTO,
) -> None:
    """Hands the files over and creates the model, with progress on stderr.

    `options` are further fields of the request, such as `quantize`.
    """
    from olmkit.cli.building.modelfiles import create_request

    with progress_display(terminal, style=progress) as display:
        body = create_request(name, modelfile, parts, lambda path: hand_over(client, path, display))
        for event in client.create({**body, **options}):
            display.show(event)
