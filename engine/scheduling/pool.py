"""Loaded models: carries the scheduler's effects out with real runners.

Lives in the daemon's event loop; nothing here may be called from another thread.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from olmkit.engine.access.caller import current
from olmkit.engine.devices.enumeration import Found
from olmkit.engine.errors import EngineError, EngineUnusable, OutOfMemory, RunnerFailed
from olmkit.engine.planning.available import available_bytes, available_swap_bytes, total_bytes
from olmkit.engine.planning.ledger import HOST
from olmkit.engine.planning.measuredcosts import MeasuredCosts
from olmkit.engine.runner.protocol import Loaded, LoadOptions
from olmkit.engine.scheduling import bringup
from olmkit.engine.scheduling.bringup import Loadable, StartRunner
from olmkit.engine.scheduling.deadlines import NO_DEADLINE, Deadline
from olmkit.engine.scheduling.effects import Effect, Grant, Refuse, Start, Stop
from olmkit.engine.scheduling.instances import Cause, InstanceId, State, TicketId
from olmkit.engine.scheduling.leases import InstanceInfo, Lease
from olmkit.engine.scheduling.modelplaces import (
    MainMemory,
    Others,
    Placed,
    Plan,
    Rehearsal,
    placing_rules,
    settled,
    swap_notes,
)
from olmkit.engine.scheduling.placing import ListDevices, Placer
from olmkit.engine.scheduling.scheduler import Scheduler
from olmkit.engine.scheduling.tenants import LeaseRequest, Tenant, told
from olmkit.engine.settings import Settings
from olmkit.engine.supervision.interface import Runner
from olmkit.engine.supervision.localrunner import LocalRunner
from olmkit.engine.telemetry.eventlog import EventLog
from olmkit.engine.telemetry.metrics import Metrics, end_of
from olmkit.engine.telemetry.requestrecord import current_record
from olmkit.registry.errors import Cancelled

MOST_ATTEMPTS: Final = 4
"""Runners that are started for one load, when devices refuse what they said was free."""
DEFAULT_MAX_LOADED: Final = 3
"""Where the settings do not say: memory is the true limit, this keeps the list short."""

log = logging.getLogger(__name__)


class Pool:
    """All loaded models of the daemon."""

    def __init__(
        self,
        settings: Settings,
        *,
        start_runner: StartRunner = LocalRunner.start,
        free_bytes: Callable[[], int] = available_bytes,
        free_swap_bytes: Callable[[], int] = available_swap_bytes,
        list_devices: ListDevices | None = None,
        costs: MeasuredCosts | None = None,
        engine: Callable[[], str] = lambda: "",
        metrics: Metrics | None = None,
        events: EventLog | None = None,
    ) -> None:
        """Made in a running event loop.

        `free_bytes`, `free_swap_bytes`: main memory that can be had now, and swap space;
        `list_devices`: None, where there is nothing but the processor; `engine`: which build of
        the engine runs.
        """
        self._scheduler = Scheduler(
            max_loaded=settings.max_loaded_models or DEFAULT_MAX_LOADED,
            max_queue=settings.max_queue,
            max_queue_per_model=settings.max_queue_per_model,
            max_queue_per_key=settings.max_queue_per_key,
            keep_alive_s=settings.keep_alive_s,
        )
        self._list_devices = list_devices
        self._costs = costs or MeasuredCosts()
        self._placer = Placer(
            placing_rules(settings),
            list_devices=list_devices,
            free_host_bytes=free_bytes,
            free_swap_bytes=free_swap_bytes,
            costs=self._costs,
            engine=engine,
        )
        self._load_timeout_s = settings.load_timeout_s
        self._start_runner = start_runner
        self._free_bytes = free_bytes
        self._metrics = metrics or Metrics()
        self._events = events or EventLog()
        self._loop = asyncio.get_running_loop()
        self._requests: dict[TicketId, LeaseRequest] = {}
        self._curious: set[TicketId] = set()
        """Of those, the ones that want to hear how far they are."""
        self._tenants: dict[InstanceId, Tenant] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._last_ticket = 0
        self.engine_failure = ""
        """Why the engine could not run the model that was loaded last; empty: it could."""

    @asynccontextmanager
    async def lease(
        self,
        spec: Loadable,
        options: LoadOptions,
        keep_alive_s: float | None = None,
        *,
        deadline: Deadline = NO_DEADLINE,
        is_batch: bool = False,
    ) -> AsyncIterator[Lease]:
        """A lease on the model, loaded first if need be.

        `options.context_tokens` 0 takes olm's choice, or what is loaded if that is not less.
        `keep_alive_s`: how long the model stays loaded after its last lease; `math.inf` for ever,
        0 not at all, None leaves what it has (the default when it is loaded now). A model loaded
        with a longer context and otherwise compatible options is used as it is. Cancelling the wait
        leaves the load to others that wait for it, or to keep-alive.

        `deadline`: until when it is waited for; `is_batch`: nobody waits for the answer, so that
        others come first.

        Raises:
            DeadlineExceeded, QueueFull, LoadTimeout, OutOfMemory, ModelUnloadable, RunnerDied: no
                lease was given.
            Cancelled: the pool is closing.
        """
        self._last_ticket += 1
        ticket, asked_s = TicketId(self._last_ticket), self._loop.time()
        self._forget_the_dead()
        request = self._requests[ticket] = LeaseRequest(spec=spec)
        if (record := current_record()) is not None:
            record.model, request.progress = spec.name, record.progress
        if request.progress is not None:
            self._curious.add(ticket)
        try:
            key, caller = spec.model_key, current().name
            effects = self._scheduler.on_request(
                ticket,
                key,
                options,
                keep_alive_s=keep_alive_s,
                caller=caller,
                is_batch=is_batch,
                now_s=asked_s,
            )
            self._carry_out(effects)
            tenant = await deadline.keep(request.granted)
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
            self._curious.discard(ticket)
            self._carry_out(self._scheduler.on_leave(ticket, now_s=self._loop.time()))

    def instances(self) -> list[InstanceInfo]:
        """What is loaded now, the one that stays longest first."""
        now_s = self._loop.time()
        infos = [
            told(self._tenants[instance.id], instance, now_s=now_s)
            for instance in self._scheduler.instances
        ]
        return sorted(infos, key=lambda info: info.end_s, reverse=True)

    async def plan(
        self, spec: Loadable, options: LoadOptions, *, devices: Sequence[str] = ()
    ) -> Plan:
        """Where the model would go if it were asked for now; nothing is loaded, nobody leaves.

        `devices`: those to choose from, by name, UUID or number; empty: all.

        Raises:
            InvalidRequest: there is no such device.
            OutOfMemory: nowhere, whoever left.
            ModelUnloadable, DeviceLost, RunnerDied: the dry run failed.
        """
        options = bringup.within_memory(options, free_bytes=self._free_bytes())
        now_s = self._loop.time()
        tenant = Tenant(id=InstanceId(0), spec=spec, options=options, began_s=now_s)
        start = self._starting(tenant)
        gone: set[InstanceId] = set()
        try:
            placed: Placed | None = None
            while placed is None:
                try:
                    placed = await self._place(
                        tenant, options, start, rehearsal=self._rehearsal(gone, devices)
                    )
                except OutOfMemory as error:
                    leaving = self._scheduler.would_leave(error.missing) - gone
                    if not leaving or error.missing is None:
                        raise
                    gone |= leaving
        finally:
            if tenant.runner is not None:
                await tenant.runner.close()
        names = [self._tenants[one].spec.name for one in sorted(gone) if one in self._tenants]
        return Plan(placed=placed, evicted=tuple(names))

    def main_memory(self) -> MainMemory:
        """Main memory, as plans count it."""
        return MainMemory(free=self._placer.free_host_bytes(), total=total_bytes())

    async def model_memory_bytes(self) -> int:
        """Memory that this machine has for one model: of its cards, if there are any."""
        listing = self._list_devices(frozenset()) if self._list_devices else None
        found = await listing if listing is not None else Found()
        own = [device for device in found.devices if not device.is_remote]
        return sum(device.total_bytes for device in own) or total_bytes()

    def _rehearsal(self, gone: set[InstanceId], devices: Sequence[str]) -> Rehearsal:
        freed = (one.taken.get(HOST, 0) for one in self._scheduler.instances if one.id in gone)
        return Rehearsal(gone=frozenset(gone), freed_host_bytes=sum(freed), only=tuple(devices))

    def waiting(self) -> list[Loadable]:
        """The model of each request that waits for a lease."""
        return [each.spec for each in self._requests.values() if not each.granted.done()]

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
                case Stop(instance, cause, ticket):
                    self._stop(self._tenants[instance], cause, ticket)
        self._tell_positions()
        self._set_timer()

    def _answer(self, ticket: TicketId, answer: Tenant | EngineError | Cancelled) -> None:
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
        tenant = self._tenants[instance] = Tenant(
            id=instance, spec=spec, options=options, began_s=self._loop.time()
        )
        tenant.life = self._spawn(self._live(tenant))

    def _stop(self, tenant: Tenant, cause: Cause, gives_way_to: TicketId | None) -> None:
        tenant.cause, name = cause, tenant.spec.name
        if cause is Cause.EVICTED and (winner := self._requests.get(gives_way_to or TicketId(0))):
            self._events.record("model", "evict", name, gives_way_to=winner.spec.name)
        if tenant.runner is not None and tenant.loaded is not None:
            log.info("unloading", extra={"model": name, "cause": cause.value})
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

    async def _live(self, tenant: Tenant) -> None:
        """Bring the model up, see its runner to its end, report both to the scheduler."""
        try:
            error = await self._bring_up(tenant)
            if error is None and tenant.runner is not None:
                await asyncio.shield(tenant.runner.died)
        except asyncio.CancelledError:  # by `_stop`, while loading
            error = None
        if tenant.runner is not None:
            await tenant.runner.close()
        self._placer.ledger.release(tenant.id)
        del self._tenants[tenant.id]
        now_s = self._loop.time()
        tenant.tell_end(self._events, error)
        if error is None:
            self._carry_out(self._scheduler.on_gone(tenant.id, now_s=now_s))
            return
        log.error(str(error), extra={"model": tenant.spec.name})
        self._metrics.loads.of(self._metrics.model(tenant.spec.name), end_of(error)).add()
        if isinstance(error, EngineUnusable):
            self.engine_failure = str(error)
        self._carry_out(
            self._scheduler.on_load_failed(tenant.id, error, missing=_missing(error), now_s=now_s)
        )

    async def _bring_up(self, tenant: Tenant) -> EngineError | Cancelled | None:
        """Plan, start and load, and tell the scheduler; or why that did not work."""
        spec = tenant.spec
        try:
            loaded = await self._load(tenant)
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
        assert tenant.placed is not None
        tenant.placed = tenant.placed.noting(loaded.notes)
        took_s = round(loaded.load_ns / 1e9, 3)
        facts = {"model": spec.name, "context": loaded.context_tokens, "took_s": took_s}
        log.info("loaded", extra=facts | {"context_by": tenant.placed.context_by.value})
        self._events.record(
            "model", "load", spec.name, context=loaded.context_tokens, took_s=took_s
        )
        for note in (*tenant.placed.notes, *swap_notes(tenant.runner)):
            log.warning(note, extra={"model": spec.name})
        self._carry_out(
            self._scheduler.on_loaded(
                tenant.id,
                context_tokens=loaded.context_tokens,
                trained_context_tokens=loaded.trained_context_tokens,
                taken=self._settle(tenant.id, tenant.placed, loaded),
                is_whole=tenant.placed.is_whole,
                now_s=self._loop.time(),
            )
        )
        return None

    async def _load(self, tenant: Tenant) -> Loaded:
        """Place the model and load it there; elsewhere when an allocation fails all the same."""

        start = self._starting(tenant)
        options = bringup.within_memory(tenant.options, free_bytes=self._free_bytes())
        for _ in range(MOST_ATTEMPTS - 1):
            tenant.placed = placed = await self._place(tenant, options, start)
            try:
                return await self._commit(placed, tenant.spec, await start())
            except OutOfMemory as error:
                if placed.attempts is None:
                    raise
                log.warning(str(error), extra={"model": tenant.spec.name})
                placed.attempts.refuse(placed.layout, error.device)
                self._costs.forget(placed.key)
            self._placer.ledger.release(tenant.id)
            runner, tenant.runner = tenant.runner, None
            if runner is not None:
                await runner.close()
        tenant.placed = placed = await self._place(tenant, options, start)
        return await self._commit(placed, tenant.spec, await start())

    def _starting(self, tenant: Tenant) -> Callable[[], Awaitable[Runner]]:
        """Gives the tenant's runner, started when it is asked for first."""

        async def start() -> Runner:
            async with tenant.starting:
                if tenant.runner is None:
                    tenant.runner = await self._start_runner(tenant.spec.name)
                return tenant.runner

        return start

    async def _place(
        self,
        tenant: Tenant,
        options: LoadOptions,
        start: Callable[[], Awaitable[Runner]],
        *,
        rehearsal: Rehearsal | None = None,
    ) -> Placed:
        def others() -> Others:
            instances = self._scheduler.instances
            leaving = [one for one in instances if one.is_leaving]
            going = [*leaving, *self._scheduler.eviction_order()]
            loading = (one for one in instances if one.state is State.STARTING)
            return Others(
                give_back={one.id: one.taken for one in going},
                are_loading=any(one.id != tenant.id for one in loading),
            )

        return await self._placer.place(
            tenant.id,
            tenant.spec,
            options,
            start=start,
            others=others,
            previous=tenant.placed,
            rehearsal=rehearsal,
        )

    async def _commit(self, placed: Placed, spec: Loadable, runner: Runner) -> Loaded:
        return await bringup.load(
            runner,
            spec,
            placed.options,
            layout=placed.layout,
            timeout_s=self._load_timeout_s,
            on_progress=partial(self._tell_progress, spec.model_key),
        )

    def _tell_progress(self, model_key: str, fraction: float) -> None:
        """Tell those who wait for the model how far its load is, where they asked."""
        for ticket in self._curious:
            request = self._requests[ticket]
            is_waiting = request.spec.model_key == model_key and not request.granted.done()
            if is_waiting and request.progress is not None:
                request.progress.loading(fraction)

    def _tell_positions(self) -> None:
        """Tell those who wait for their turn which place they have, where they asked."""
        for ticket in self._curious:
            request = self._requests[ticket]
            position = self._scheduler.position(request.spec.model_key, ticket)
            if request.progress is not None and position not in (None, request.position):
                request.progress.queued(position)
                request.position = position

    def _settle(self, owner: InstanceId, placed: Placed, loaded: Loaded) -> dict[str, int]:
        """Claim what the model has really taken; what its end will give back, by device."""
        claimed, given_back = settled(placed, loaded)
        self._placer.ledger.settle(owner, claimed)
        if placed.key:
            self._costs.remember(placed.key, loaded.buffers)
        return given_back


def _missing(error: EngineError | Cancelled) -> Mapping[str, int] | None:
    """What must be freed before another attempt, by device; None when that is not known."""
    return error.missing if isinstance(error, OutOfMemory) else None
