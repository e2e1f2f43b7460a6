"""What the scheduler wants done; the pool does it."""

from dataclasses import dataclass

from olmkit.engine.errors import EngineError
from olmkit.engine.runner.protocol import LoadOptions
from olmkit.engine.scheduling.instances import Cause, InstanceId, TicketId
from olmkit.registry.errors import Cancelled


@dataclass(frozen=True, slots=True)
class Grant:
    """Answer the request: it has a lease on this instance."""

    ticket: TicketId
    instance: InstanceId


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer the request: it gets none."""

    ticket: TicketId
    error: EngineError | Cancelled


@dataclass(frozen=True, slots=True)
class Start:
    """Plan, start and load; then report `on_loaded`, or `on_load_failed` when all is cleaned up.

    `ticket` is the request that the model is loaded for.
    """

    instance: InstanceId
    ticket: TicketId
    options: LoadOptions


@dataclass(frozen=True, slots=True)
class Stop:
    """End the runner, loaded or still loading; then report `on_gone`.

    `gives_way_to`: the request that the room of an evicted one is for.
    """

    instance: InstanceId
    cause: Cause
    gives_way_to: TicketId | None = None


Effect = Grant | Refuse | Start | Stop
