"""What the daemon's API works with, made once by `daemon.run` and handed to `create_app`."""

from dataclasses import dataclass
from datetime import datetime

from olmkit.engine.chat.process import TemplateProcess
from olmkit.engine.scheduling.pool import Pool
from olmkit.engine.settings import Settings
from olmkit.registry.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of a running daemon. The daemon closes them, not the API."""

    settings: Settings
    """With the port that is really listened on."""
    store: Store
    pool: Pool
    templates: TemplateProcess
    """Renders chat templates outside of this process."""
    started_at: datetime
    """Aware, local time."""
