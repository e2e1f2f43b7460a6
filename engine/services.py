"""What the daemon's API works with, made once by `daemon.run` and handed to `create_app`."""

from dataclasses import dataclass
from datetime import datetime

from olmkit.registry.store import Store

from olmkit.engine.scheduling.pool import Pool
from olmkit.engine.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of a running daemon. The daemon closes them, not the API."""

    settings: Settings
    store: Store
    pool: Pool
    started_at: datetime
    """Aware, local time."""
