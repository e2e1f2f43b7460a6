"""What the daemon's API works with, made once by `daemon.run` and handed to `create_app`."""

import logging
import threading
from dataclasses import dataclass, field
from datetime import datetime

from olmkit.engine.chat.templates.renderprocess import TemplateProcess
from olmkit.engine.facts.suitability import engine_warning
from olmkit.engine.safemode.safeguard import Safeguard, rebuild_command
from olmkit.engine.scheduling.pool import Pool
from olmkit.engine.settings import Settings
from olmkit.engine.telemetry.eventlog import EventLog
from olmkit.engine.telemetry.metrics import Metrics
from olmkit.engine.telemetry.tracing import Tracing
from olmkit.registry.errors import StoreError
from olmkit.registry.store.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of a running daemon. The daemon closes them, not the API."""

    settings: Settings
    """With the port that is really listened on."""
    store: Store
    pool: Pool
    safeguard: Safeguard
    """What is known of the engine, and what to do when it dies."""
    templates: TemplateProcess
    """Renders chat templates outside of this process."""
    started_at: datetime
    """Aware, local time."""
    metrics: Metrics = field(default_factory=Metrics)
    events: EventLog = field(default_factory=EventLog)
    tracing: Tracing | None = None
    """None: nobody wants traces."""

    def rename_old_blobs(self) -> None:
        """Make the blobs of a store of an old Ollama readable; a warning where that fails."""
        try:
            self.store.blobs.rename_old()
        except StoreError as error:
            log.warning("some models cannot be read", extra={"reason": str(error)})

    def start_cleaning(self) -> None:
        """Remove what killed processes left in the store, in a thread of its own.

        Blobs stay, unlike at Ollama's start: one without a manifest may be work that somebody goes
        on with, and only `olm system prune` says that it is not. `OLM_NOPRUNE` keeps all.
        """
        if not self.settings.no_prune:
            threading.Thread(target=self._clean, name="clean", daemon=True).start()

    def check_engine(self) -> None:
        """Warn where the engine was built for another processor, or runs in the safe mode.

        Where nobody wrote down how it was built, each runner looks at that itself.
        """
        if text := engine_warning(self.safeguard.libraries):
            log.warning(text, extra={"mend": rebuild_command()})
        if text := self.safeguard.known().caveat:
            log.warning(text)

    def _clean(self) -> None:
        try:
            self.store.remove_leftovers()
        except StoreError as error:
            log.warning("the store cannot be cleaned", extra={"reason": str(error)})
