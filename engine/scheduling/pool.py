"""Loaded models: carries the scheduler's effects out with real runners.

Lives in the daemon's event loop; nothing here may be called from another thread.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from olmkit.engine.access.caller import current
from olmkit.engine.errors import EngineError, EngineUnusable, OutOfMemory, RunnerFailed
from olmkit.engine.planning.admission import check_memory
from olmkit.engine.planning.available import available_bytes, has_accelerator
from olmkit.engine.planning.footprint import MemoryPlan
from olmkit.engine.runner.protocol import Loaded, LoadOptions
from olmkit.engine.scheduling import bringup
from olmkit.engine.scheduling.bringup import Loadable, StartRunner
from olmkit.engine.scheduling.effects import Effect, Grant, Refuse, Start, Stop
from olmkit.engine.scheduling.instances import Instance, InstanceId, TicketId
from olmkit.engine.scheduling.placement import placement_of
from olmkit.engine.scheduling.scheduler import Scheduler
from olmkit.engine.settings import Settings
from olmkit.engine.supervision.interface import Runner
from olmkit.engine.supervision.localrunner import LocalRunner
from olmkit.engine.telemetry.metrics import Metrics, end_of
from olmkit.registry.errors import Cancelled

DEFAULT_MAX_LOADED: Final = 3
"""Where the settings do not say: memory is the true limit, this keeps the list short."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to use a loaded model until the context manager ends."""

    runner: Runner
    loaded: Loaded
    load_ns: int
    """How long the request waited for this lease, loading included."""
    queued_ns: int = 0
    """The part of it in which the model was not being loaded."""

    @property
    def device(self) -> str:
        """Where the weights are, as llama.cpp names its devices, the most of them first."""
        weights: Counter[str] = Counter()
        for buffer in self.loaded.buffers:
            name = buffer.device if bringup.is_on_card(buffer) else "CPU"
            weights[name] += buffer.weights_bytes
        return ",".join(name for name, size_bytes in weights.most_common() if size_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceInfo:
    """One loaded model, as `ps` shows it."""

    name: str
    digest: str
    model_key: str
    state: str
    """`starting`, `ready`, `draining` or `stopping`."""
    size_bytes: int
    """All that the model takes (`Placement`); while it is starting, what was planned."""
    size_vram_bytes: int
    """The part on cards."""
    planned_bytes: int
    """What the model was expected to take; 0 while that is not known."""
    context_tokens: int
    expires_at: datetime | None
    """When it is unloaded if nobody asks for it; None: never. Aware, local time."""
    leases: int
    caveat: str
    """What the engine does without on this machine, and why; empty: nothing."""


@dataclass(slots=True, kw_only=True)
class _Tenant:
    """What stands behind one instance of the scheduler."""

    id: InstanceId
    spec: Loadable
    options: LoadOptions
    plan: MemoryPlan | None = None
    began_s: float
    """When its load began, by the event loop's clock."""
    loaded_s: float = 0.0
    """When it was loaded."""
    runner: Runner | None = None
    loaded: Loaded | None = None
    life: asyncio.Task[None] | None = None


@dataclass(slots=True, kw_only=True)
class _Request:
    """Somebody in `lease`: what for, and where the answer goes."""

    spec: Loadable
    granted: asyncio.Future[_Tenant] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Pool:
    """All loaded models of the daemon."""

    def __init__(
        self,
        settings: Settings,
        *,
        start_runner: StartRunner = LocalRunner.start,
        free_bytes: Callable[[], int] = available_bytes,
        metrics: Metrics | None = None,
    ) -> None:
        """Made in a running event loop. `free_bytes`: main memory that can be had now."""
        self._scheduler = Scheduler(
            max_loaded=settings.max_loaded_models or DEFAULT_MAX_LOADED,
            max_queue=settings.max_queue,
            max_queue_per_model=settings.max_queue_per_model,
            max_queue_per_key=settings.max_queue_per_key,
            keep_alive_s=settings.keep_alive_s,
        )
        self._load_timeout_s = settings.load_timeout_s
        self._start_runner = start_runner
        self._free_bytes = free_bytes
        self._metrics = metrics or Metrics()
        self._loop = asyncio.get_running_loop()
        self._requests: dict[TicketId, _Request] = {}
        self._tenants: dict[InstanceId, _Tenant] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._last_ticket = 0
        self.engine_failure = ""
        """Why the engine could not run the model that was loaded last; empty: it could."""

    @asynccontextmanager
    async def lease(
        self, spec: Loadable, options: LoadOptions, keep_alive_s: float | None = None
    ) -> AsyncIterator[Lease]:
        """A lease on the model, loaded first if need be.

        `options.context_tokens` 0 takes olm's choice, or what is loaded if that is not less.
        `keep_alive_s`: how long the model stays loaded after its last lease; `math.inf` for ever,
        0 not at all, None leaves what it has (the default when it is loaded now). A model loaded
        with a longer context and otherwise compatible options is used as it is. Cancelling the wait
        leaves the load to others that wait for it, or to keep-alive.

        Raises:
            QueueFull, LoadTimeout, OutOfMemory, ModelUnloadable, RunnerDied: no lease was given.
            Cancelled: the pool is closing.
        """
        self._last_ticket += 1
        ticket, asked_s = TicketId(self._last_ticket), self._loop.time()
        self._forget_the_dead()
        request = self._requests[ticket] = _Request(spec=spec)
        try:
            self._carry_out(
                self._scheduler.on_request(
                    ticket,
                    spec.model_key,
                    options,
                    keep_alive_s=keep_alive_s,
                    caller=current().name,
                    now_s=asked_s,
                )
            )
            tenant = await request.granted
            assert tenant.runner is not None
            assert tenant.loaded is not None
            waited_s = self._loop.time() - asked_s
            loading_s = max(0.0, tenant.loaded_s - max(asked_s, tenant.began_s))
            yield Lease(
                runner=tenant.runner,
                loaded=tenant.loaded,
                load_ns=int(waited_s * 1e9),
                queued_ns=int((waited_s - loading_s) * 1e9),
            )
        finally:
            del self._requests[ticket]
            self._carry_out(self._scheduler.on_leave(ticket, now_s=self._loop.time()))

    def instances(self) -> list[InstanceInfo]:
        """What is loaded now, the one that stays longest first."""
        infos = [self._info(instance) for instance in self._scheduler.instances]
        return sorted(infos, key=_end_s, reverse=True)

    def waiting(self) -> Counter[str]:
        """How many requests wait for a lease, by the name of their model."""
        return Counter(
            request.spec.name for request in self._requests.values() if not request.granted.done()
        )

    @property
    def evictions(self) -> int:
        """How many models had to make room for others so far."""
        return self._scheduler.evictions

    def unload(self, model_key: str) -> bool:
        """Unload the model as soon as no lease is held; False when it was not loaded.

        Returns at once. Requests that come in the meantime load it afresh.
        """
        was_loaded = any(
            instance.key == model_key and not instance.is_leaving
            for instance in self._scheduler.instances
        )
        self._carry_out(self._scheduler.on_unload(model_key, now_s=self._loop.time()))
        return was_loaded

    async def close(self) -> None:
        """End all runners, answer all waiting requests; nothing can be leased any more."""
        self._carry_out(self._scheduler.on_close())
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._timer is not None:
            self._timer.cancel()

    def _forget_the_dead(self) -> None:
        """Whoever saw a runner die may ask again before that runner's task has been scheduled."""
        for tenant in list(self._tenants.values()):
            if tenant.runner is not None and tenant.loaded and tenant.runner.died.done():
                now_s = self._loop.time()
                self._carry_out(self._scheduler.on_gone(tenant.id, now_s=now_s))

    # --- effects ----------------------------------------------------------------------------

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Grant(ticket, instance):
                    self._answer(ticket, self._tenants[instance])
                case Refuse(ticket, error):
                    self._answer(ticket, error)
                case Start(instance, ticket, options):
                    self._start(instance, self._requests[ticket].spec, options)
                case Stop(instance):
                    self._stop(self._tenants[instance])
        self._set_timer()

    def _answer(self, ticket: TicketId, answer: _Tenant | EngineError | Cancelled) -> None:
        request = self._requests[ticket]
        granted = request.granted
        if granted.done():
            return  # cancelled: its lease is given back when its task runs
        if isinstance(answer, EngineError | Cancelled):
            granted.set_exception(answer.with_traceback(None))
            granted.exception()  # nobody hears of it when the waiter is cancelled right now
        else:
            answer.spec = request.spec  # models that share their weights: who used them last
            granted.set_result(answer)

    def _start(self, instance: InstanceId, spec: Loadable, options: LoadOptions) -> None:
        options = bringup.effective_options(spec, options)
        tenant = self._tenants[instance] = _Tenant(
            id=instance, spec=spec, options=options, began_s=self._loop.time()
        )
        tenant.life = self._spawn(self._live(tenant))

    def _stop(self, tenant: _Tenant) -> None:
        if tenant.runner is not None and tenant.loaded is not None:
            log.info("unloading", extra={"model": tenant.spec.name})
            self._spawn(tenant.runner.close())
        elif tenant.life is not None:
            tenant.life.cancel()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline_s = self._scheduler.next_deadline_s
        if not math.isinf(deadline_s):
            self._timer = self._loop.call_at(deadline_s, self._tick)

    def _tick(self) -> None:
        self._carry_out(self._scheduler.on_tick(now_s=self._loop.time()))

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- the life of one instance -----------------------------------------------------------

    async def _live(self, tenant: _Tenant) -> None:
        """Bring the model up, see its runner to its end, report both to the scheduler."""
        try:
            error = await self._bring_up(tenant)
            if error is None and tenant.runner is not None:
                await asyncio.shield(tenant.runner.died)
        except asyncio.CancelledError:  # by `_stop`, while loading
            error = None
        if tenant.runner is not None:
            await tenant.runner.close()
        del self._tenants[tenant.id]
        now_s = self._loop.time()
        if error is None:
            self._carry_out(self._scheduler.on_gone(tenant.id, now_s=now_s))
            return
        log.error(str(error), extra={"model": tenant.spec.name})
        self._metrics.loads.of(self._metrics.model(tenant.spec.name), end_of(error)).add()
        if isinstance(error, EngineUnusable):
            self.engine_failure = str(error)
        self._carry_out(
            self._scheduler.on_load_failed(
                tenant.id, error, missing_bytes=_missing_bytes(error), now_s=now_s
            )
        )

    async def _bring_up(self, tenant: _Tenant) -> EngineError | Cancelled | None:
        """Plan, start and load, and tell the scheduler; or why that did not work."""
        spec, options = tenant.spec, tenant.options
        try:
            # Off the loop: it reads files, and how long it takes the model's own header decides.
            plan = await asyncio.to_thread(bringup.plan_for, spec, options)
            options = bringup.within_memory(options, free_bytes=self._free_bytes())
            self._admit(spec, plan, options)
            tenant.plan = plan
            tenant.runner = await self._start_runner(spec.name)
            loaded = await bringup.load(
                tenant.runner, spec, options, timeout_s=self._load_timeout_s
            )
        except (EngineError, Cancelled) as error:
            return error
        except Exception:  # a defect: those who wait must hear of it all the same
            log.exception("loading failed", extra={"model": spec.name})
            text = f"loading {spec.name} failed for a reason that only the log tells"
            return RunnerFailed(text, model=spec.name)
        tenant.loaded, tenant.loaded_s = loaded, self._loop.time()
        self.engine_failure = ""
        label = self._metrics.model(spec.name)
        self._metrics.loads.of(label, "loaded").add()
        self._metrics.load_s.of(label).observe(tenant.loaded_s - tenant.began_s)
        took_s = round(loaded.load_ns / 1e9, 3)
        facts = {"model": spec.name, "context": loaded.context_tokens, "took_s": took_s}
        log.info("loaded", extra=facts)
        self._carry_out(
            self._scheduler.on_loaded(
                tenant.id,
                context_tokens=loaded.context_tokens,
                trained_context_tokens=loaded.trained_context_tokens,
                size_bytes=plan.process_bytes + bringup.host_bytes(loaded),
                now_s=self._loop.time(),
            )
        )
        return None

    def _admit(self, spec: Loadable, plan: MemoryPlan, options: LoadOptions) -> None:
        """Nothing when there is memory for the plan. Raises: OutOfMemory.

        What a card holds only the runner can tell. Loads under way have their memory reserved;
        mapped weights of loaded models are wanted, though the system counts them as free.
        """
        if options.gpu_layers != 0 and has_accelerator():
            return
        reserved_bytes = 0
        for other in self._tenants.values():
            if other.loaded is None:
                reserved_bytes += other.plan.total_bytes if other.plan else 0
            elif other.options.use_mmap is not False:
                reserved_bytes += bringup.host_weights_bytes(other.loaded)
        free_bytes = self._free_bytes() - reserved_bytes
        check_memory(spec.name, plan, context_tokens=options.context_tokens, free_bytes=free_bytes)

    def _info(self, instance: Instance) -> InstanceInfo:
        tenant = self._tenants[instance.id]
        runner = tenant.runner
        loaded = runner.loaded if runner else None
        placed = placement_of(loaded.buffers if loaded else [], tenant.spec.gguf)
        size_bytes = placed.total_bytes
        if loaded is None and tenant.plan is not None:
            size_bytes = tenant.plan.total_bytes
        left_s = min(instance.deadline_s - self._loop.time(), instance.keep_alive_s)
        expires_at = None
        if not math.isinf(left_s):
            expires_at = datetime.now().astimezone() + timedelta(seconds=left_s)
        return InstanceInfo(
            name=tenant.spec.name,
            digest=tenant.spec.digest,
            model_key=tenant.spec.model_key,
            state=instance.state,
            size_bytes=size_bytes,
            size_vram_bytes=placed.card_bytes,
            planned_bytes=tenant.plan.total_bytes if tenant.plan else 0,
            context_tokens=instance.context_tokens or tenant.options.context_tokens,
            expires_at=expires_at,
            leases=len(instance.leases),
            caveat=runner.caveat if runner else "",
        )


def _end_s(info: InstanceInfo) -> float:
    return math.inf if info.expires_at is None else info.expires_at.timestamp()


def _missing_bytes(error: EngineError | Cancelled) -> int | None:
    """What must be freed before another attempt; None when that is not known."""
    if not isinstance(error, OutOfMemory) or error.needed_bytes is None:
        return None
    return None if error.free_bytes is None else error.needed_bytes - error.free_bytes
