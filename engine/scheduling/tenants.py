"""What the pool knows of one instance and of one request for a lease, beside what is decided."""

import asyncio
import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from olmkit.engine.errors import EngineError
from olmkit.engine.runner.protocol import Loaded, LoadOptions
from olmkit.engine.scheduling.bringup import Loadable
from olmkit.engine.scheduling.instances import Cause, Instance, InstanceId
from olmkit.engine.scheduling.leases import InstanceInfo
from olmkit.engine.scheduling.modelplaces import Placed
from olmkit.engine.scheduling.placement import bytes_by_name, placement_of
from olmkit.engine.supervision.interface import ExitReason, Runner
from olmkit.engine.telemetry.eventlog import EventLog, Fact
from olmkit.engine.telemetry.requestprogress import LatestProgress
from olmkit.registry.errors import Cancelled


@dataclass(slots=True, kw_only=True)
class Tenant:
    """What stands behind one instance of the scheduler."""

    id: InstanceId
    spec: Loadable
    options: LoadOptions
    placed: Placed | None = None
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    began_s: float
    """When its load began, by the event loop's clock."""
    loaded_s: float = 0.0
    """When it was loaded."""
    runner: Runner | None = None
    loaded: Loaded | None = None
    life: asyncio.Task[None] | None = None
    cause: Cause | None = None
    """Why it was told to end; None: it was not."""

    def tell_end(self, events: EventLog, error: EngineError | Cancelled | None) -> None:
        """Records how it ended; `error`: why it was not loaded."""
        name = self.spec.name
        if error is not None:
            events.record("model", "load_failed", name, error=str(error))
            return
        died = self.runner.died.result() if self.runner and self.runner.died.done() else None
        if died is not None and died.reason is not ExitReason.CLOSED:
            facts: dict[str, Fact] = {"reason": died.reason.value, "how": died.description}
            if died.exit_status is not None:
                facts["exit_status"] = died.exit_status
            events.record("model", "die", name, **facts)
        elif self.loaded is not None:
            events.record("model", "unload", name, cause=(self.cause or Cause.ASKED).value)


@dataclass(slots=True, kw_only=True)
class LeaseRequest:
    """Somebody in `lease`: what for, and where the answer goes."""

    spec: Loadable
    progress: LatestProgress | None = None
    """Where to report how far it is with its wait; None: nobody asked."""
    position: int | None = None
    """The place in the queue that was reported last."""
    granted: asyncio.Future[Tenant] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


def told(tenant: Tenant, instance: Instance, *, now_s: float) -> InstanceInfo:
    """What is said of an instance; `now_s`: by the event loop's clock."""
    runner = tenant.runner
    loaded = runner.loaded if runner else None
    placed = placement_of(loaded.buffers if loaded else [], tenant.spec.gguf)
    size_bytes = placed.total_bytes
    if loaded is None and tenant.placed is not None:
        size_bytes = sum(tenant.placed.taken.values())
    left_s = min(instance.deadline_s - now_s, instance.keep_alive_s)
    expires_at = None
    if not math.isinf(left_s):
        expires_at = datetime.now().astimezone() + timedelta(seconds=left_s)
    options = tenant.placed.options if tenant.placed else tenant.options
    return InstanceInfo(
        name=tenant.spec.name,
        digest=tenant.spec.digest,
        model_key=tenant.spec.model_key,
        state=instance.state,
        size_bytes=size_bytes,
        size_vram_bytes=placed.card_bytes,
        planned_bytes=sum(tenant.placed.taken.values()) if tenant.placed else 0,
        context_tokens=instance.context_tokens or options.context_tokens,
        context_by=tenant.placed.context_by if tenant.placed else None,
        contexts=options.contexts,
        expires_at=expires_at,
        leases=len(instance.leases),
        sequences=instance.options.sequences,
        runner=runner if loaded is not None else None,
        caveat=runner.caveat if runner else "",
        notes=tenant.placed.notes if tenant.placed else (),
        devices=bytes_by_name(loaded.buffers if loaded else ()),
        drawing=loaded.drawing if loaded else None,
    )
