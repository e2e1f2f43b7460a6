"""What this daemon knows of its engine: in which mode it runs here, and what to try when it dies.

An illegal instruction is a matter of the libraries and the processor alone, so what helped against
it is kept on disk. Missing libraries and drivers can come back any day: what helped against those
is forgotten with the daemon.
"""

import logging
import os
import shlex
import sys
from dataclasses import dataclass
from datetime import datetime

from olmkit.engine.confinement.levels import Confinement
from olmkit.engine.errors import EngineUnusable
from olmkit.engine.facts.enginelibraries import VARIABLE, EngineLibraries, find_libraries
from olmkit.engine.facts.processor import this_processor
from olmkit.engine.runner.protocol import SafeMode
from olmkit.engine.safemode.decisions import (
    NORMAL,
    Trouble,
    caveat_of,
    next_mode,
    reason_of,
    trouble_of,
)
from olmkit.engine.safemode.findings import Finding, Findings
from olmkit.engine.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A mode, and why it is not the normal one."""

    mode: SafeMode = NORMAL
    reason: str = ""
    is_lasting: bool = True
    """Nothing but other libraries or another processor will change it."""

    @property
    def caveat(self) -> str:
        """One sentence for the user; empty for the normal mode."""
        return caveat_of(self.mode, self.reason)


class Safeguard:
    """May be used from any thread."""

    def __init__(
        self,
        *,
        libraries: EngineLibraries | None = None,
        findings: Findings | None = None,
        confinement: Confinement = Confinement.FULL,
    ) -> None:
        """`libraries`: the installed ones. Without `findings` nothing outlives this object."""
        self.confinement = confinement
        """What processes of the engine give up."""
        self._libraries = libraries or find_libraries(None)
        self._findings = findings
        self._processor = this_processor()
        self._learned: tuple[str, Known] | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Safeguard":
        """For the engine and the home that the settings name."""
        libraries = find_libraries(settings.engine_libraries)
        return cls(
            libraries=libraries,
            findings=Findings(settings.findings_file),
            confinement=_confinement(settings),
        )

    @property
    def engine(self) -> str:
        """What sizes of models depend on beside the models: libraries, processor and mode."""
        mode = self.known().mode
        return f"{self._libraries.fingerprint} {self._processor.fingerprint} {mode}"

    def known(self) -> Known:
        """How to start the engine as it is now: it may have been built anew since."""
        engine = self._libraries.fingerprint
        if self._learned is not None and self._learned[0] == engine:
            return self._learned[1]
        finding = None
        if self._findings is not None:
            finding = self._findings.find(engine=engine, processor=self._processor.fingerprint)
        if finding is None:
            return Known()
        return Known(mode=finding.mode, reason=finding.reason)

    def after(self, known: Known, *, exit_status: int | None, log_tail: str) -> Known | None:
        """What to try when the engine died; None: there is nothing to try."""
        trouble = trouble_of(exit_status, log_tail)
        if trouble is None:
            return None
        has_fallback = self._libraries.has_fallback
        mode = next_mode(known.mode, trouble, has_fallback=has_fallback)
        if mode is None:
            return None
        return Known(
            mode=mode,
            reason=reason_of(trouble, log_tail),
            is_lasting=known.is_lasting and trouble is Trouble.ILLEGAL_INSTRUCTION,
        )

    def learn(self, known: Known) -> None:
        """Begin with this mode from now on: the engine has worked in it after it had died."""
        self._learned = (self._libraries.fingerprint, known)
        log.warning(known.caveat)
        if self._findings is None or not known.is_lasting:
            return
        finding = Finding(
            engine=self._libraries.fingerprint,
            processor=self._processor.fingerprint,
            mode=known.mode,
            reason=known.reason,
            found_at=datetime.now().astimezone().isoformat(timespec="seconds"),
        )
        try:
            self._findings.remember(finding)
        except OSError as error:
            facts = {"path": self._findings.path, "reason": error.strerror}
            log.warning("what was learned of the engine cannot be kept", extra=facts)

    @property
    def libraries(self) -> EngineLibraries:
        """Those that runners load."""
        return self._libraries

    def environment(self, mode: SafeMode) -> dict[str, str] | None:
        """The variables of a process in that mode; None: those of this one."""
        if not mode.installed_libraries:
            return None
        return {name: value for name, value in os.environ.items() if name != VARIABLE}

    def unusable(
        self, model: str, *, exit_status: int | None, log_tail: str
    ) -> EngineUnusable | None:
        """The error for a death that nothing cured; None where the engine is not to blame."""
        trouble = trouble_of(exit_status, log_tail)
        if trouble is None:
            return None
        return EngineUnusable(
            f"the engine cannot run {model} on this machine: it {reason_of(trouble, log_tail)}"
            f"{', in the safe mode too' if trouble is not Trouble.LIBRARIES else ''}",
            model=model,
            exit_status=exit_status,
            log_tail=log_tail,
            hint=f"build it for this machine: {rebuild_command()}",
        )


def _confinement(settings: Settings) -> Confinement:
    if not settings.confines:
        return Confinement.OFF
    return Confinement.NETWORK if settings.rpc_servers else Confinement.FULL


def rebuild_command() -> str:
    """The command that compiles the engine of this environment for this machine."""
    return f"{shlex.quote(sys.executable)} -m olmkit.engine.install --build native"
