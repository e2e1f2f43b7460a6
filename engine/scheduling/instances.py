"""What the scheduler knows of one loaded model, and the words of its life."""

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NewType

from olmkit.engine.errors import EngineError
from olmkit.engine.runner.protocol import LoadOptions
from olmkit.engine.scheduling.reuse import can_serve
from olmkit.registry.errors import Cancelled

TicketId = NewType("TicketId", int)
"""A request for a lease, and then the lease; ascending in the order of arrival."""
InstanceId = NewType("InstanceId", int)
Order = tuple[bool, int, TicketId]
"""Whether nobody waits for it, round and ticket of a request: what is least comes first."""


class Cause(enum.StrEnum):
    """Why an instance goes, in words that events tell."""

    EXPIRED = "expired"
    """Nobody used it for its keep-alive time."""
    ASKED = "asked"
    """Somebody asked for that."""
    EVICTED = "evicted"
    """Another model needed the room."""
    OPTIONS = "options"
    """A request has options for which it must be loaded anew."""
    SHUTDOWN = "shutdown"
    """The daemon ends."""


class State(enum.StrEnum):
    """Where an instance stands; one that is gone is forgotten."""

    STARTING = "starting"
    """Memory is planned, the runner started, the model loaded."""
    READY = "ready"
    """The only state that gives leases."""
    DRAINING = "draining"
    """No new leases; it stops after the last one."""
    STOPPING = "stopping"
    """The runner is told to end; its memory is not free yet."""


@dataclass(slots=True, kw_only=True)
class Instance:
    """One model being loaded, loaded, or being unloaded."""

    id: InstanceId
    key: str
    options: LoadOptions
    state: State
    keep_alive_s: float
    used_at_s: float
    """When the last lease ended, or the load did."""
    leases: set[TicketId] = field(default_factory=set)
    batch_leases: set[TicketId] = field(default_factory=set)
    """Those of requests that nobody waits for."""
    context_tokens: int = 0
    trained_context_tokens: int = 0
    taken: Mapping[str, int] = field(default_factory=dict)
    """Bytes by device that its end gives back; main memory is `CPU`."""
    is_whole: bool = True
    """Every layer is where layers are computed fastest: on cards, if there are any."""
    cause: Cause = Cause.EXPIRED
    """Why it goes, once it does."""
    gives_way_to: TicketId | None = None
    """The request that the room of an evicted one is for."""

    @property
    def is_idle(self) -> bool:
        """Ready, and nobody uses it."""
        return self.state is State.READY and not self.leases

    @property
    def is_leaving(self) -> bool:
        """On its way out."""
        return self.state in (State.DRAINING, State.STOPPING)

    @property
    def is_pinned(self) -> bool:
        """Loaded for ever, if nothing else needs the room."""
        return math.isinf(self.keep_alive_s)

    @property
    def deadline_s(self) -> float:
        """When keep-alive ends; infinite while it is in use."""
        return self.used_at_s + self.keep_alive_s if self.is_idle else math.inf

    def has_any(self, missing: Mapping[str, int] | None) -> bool:
        """Whether its end gives back some of what is missing; not known: perhaps."""
        return missing is None or any(self.taken.get(device, 0) for device in missing)

    def has_slot(self, *, is_batch: bool = False) -> bool:
        """Whether one more request would be decoded at once.

        Batch leaves one sequence to those who wait, where there is more than one.
        """
        if self.state is not State.READY or len(self.leases) >= self.options.sequences:
            return False
        most_batch = max(1, self.options.sequences - 1)
        return not is_batch or len(self.batch_leases) < most_batch

    def can_serve(self, options: LoadOptions) -> bool:
        """Whether a request for these options needs no reload."""
        return can_serve(
            self.options,
            options,
            context_tokens=self.context_tokens,
            trained_context_tokens=self.trained_context_tokens,
            is_whole=self.is_whole,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiter:
    """A request that has no lease yet."""

    ticket: TicketId
    options: LoadOptions
    keep_alive_s: float | None
    caller: str
    """Name of the key that it came with; empty: none."""
    turn: int
    """The round in which it is served, see `fairness`."""
    is_batch: bool = False
    """Nobody waits for it: it comes after those for whom somebody does."""

    @property
    def order(self) -> Order:
        """When its turn comes."""
        return self.is_batch, self.turn, self.ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """failed(reason, until): a load that is not tried again before `until_s`."""

    error: EngineError | Cancelled
    until_s: float
    count: int


@dataclass(slots=True, kw_only=True)
class Shortage:
    """A load that found too little memory: it is tried again when other loads have ended, which
    were counted in full, or if there were none when others have left for it."""

    options: LoadOptions
    missing: Mapping[str, int] | None
    """Bytes by device; None: not known."""
    loads: set[InstanceId]
    """Under way when the memory was counted."""
    leaving: set[InstanceId] = field(default_factory=set)
    """Those whose end is awaited; empty until there are some to await."""


def still_missing(missing: Mapping[str, int] | None, leaving: Iterable[Instance]) -> dict[str, int]:
    """What is still missing, by device, when all of `leaving` have gone."""
    found = {}
    for device, size_bytes in (missing or {}).items():
        rest = size_bytes - sum(instance.taken.get(device, 0) for instance in leaving)
        if rest > 0:
            found[device] = rest
    return found
