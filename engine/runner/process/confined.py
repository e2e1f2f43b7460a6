"""What this runner gives up before it looks at the files of a model."""

import os
from contextlib import suppress

from olmkit.engine.confinement.confining import confine, has_card_nodes
from olmkit.engine.confinement.levels import Confinement
from olmkit.engine.framing import path_of
from olmkit.engine.runner import log
from olmkit.engine.runner.bindings import LogLevel
from olmkit.engine.runner.process.offloading import is_remote
from olmkit.engine.runner.protocol import Load


class Confiner:
    """Confines the process once, at its first load of whatever kind."""

    def __init__(self, level: Confinement) -> None:
        self._level = level
        self._is_done = False

    def before(self, request: Load) -> None:
        """To be called before each load; the libraries, and their drivers, are there already."""
        if self._is_done:
            return
        self._is_done = True
        measures = confine(
            self._level_for(request),
            writable=_writable(request),
            uses_card=has_card_nodes() and not _is_cpu_only(request),
        )
        log.write(LogLevel.INFO, f"gave up {measures.text}")

    def _level_for(self, request: Load) -> Confinement:
        """Devices of other machines are reached by way of the network."""
        shares = request.layout.shares if request.layout else ()
        devices = [*(share.device for share in shares), *(one.device for one in request.proof)]
        if self._level is Confinement.FULL and any(map(is_remote, devices)):
            return Confinement.NETWORK
        return self._level


def _is_cpu_only(request: Load) -> bool:
    return request.mode.cpu_only or request.options.gpu_layers == 0


def _writable(request: Load) -> list[str]:
    """The directory of what prompts left behind, which is made if need be."""
    if not request.options.prompt_store or request.options.prompt_store_bytes <= 0:
        return []
    directory = path_of(request.options.prompt_store)
    with suppress(OSError):  # then nothing is kept, which its own part tells
        os.makedirs(directory, mode=0o700, exist_ok=True)
    return [directory]
