"""A look at the engine when the daemon starts, so that a wrong one is told of before a prompt."""

import logging
import threading
from typing import Final

from olmkit.engine.diagnosis.enginesurvey import SurveyUnderWay
from olmkit.engine.facts.enginebuild import read_build
from olmkit.engine.facts.suitability import engine_warning
from olmkit.engine.safemode.safeguard import Safeguard, rebuild_command

_TIMEOUT_S: Final = 60.0

log = logging.getLogger(__name__)


def check_engine(guard: Safeguard) -> None:
    """Log a warning if the engine was built for another processor; returns at once.

    An engine of which nobody wrote down how it was built is asked itself, in a child process, the
    first time that this machine sees it.
    """
    if text := guard.known().caveat:
        log.warning(text)
    if read_build(guard.libraries.directory) is not None:
        _warn(engine_warning(guard.libraries))
    elif guard.is_unknown():
        threading.Thread(target=_ask, args=(guard,), name="survey", daemon=True).start()


def _ask(guard: Safeguard) -> None:
    said = SurveyUnderWay().result(timeout_s=_TIMEOUT_S)
    if said.failure:
        _warn(f"the engine {said.failure}")
        return
    text = engine_warning(guard.libraries, system_info=said.system_info)
    if text:
        _warn(text)
    else:
        guard.approve()


def _warn(text: str) -> None:
    if text:
        log.warning(text, extra={"mend": rebuild_command()})
