"""Who gets which loaded model when: events in, effects out.

Pure: no clock, task, process or file. The pool calls one `on_…` method an event, with the time,
and carries the returned effects out in their order; `next_deadline_s` says when to call `on_tick`.

    starting ─▶ ready ─▶ draining ─▶ stopping ─▶ gone
       └──▶ failed(reason, until)                 ▲
    any of them ──────────── the runner died ─────┘

Invariants, checked by tests/property/test_scheduler_machine.py:

1.  At most one live instance a key; at most `max_loaded` in all.
2.  Leases are given on ready instances only, at most `sequences` at once.
3.  Every request is answered exactly once (granted or refused) unless it leaves first.
4.  No effect names an instance that is gone.
5.  Whoever is chosen to go drains from that step on: a victim is never revived.
6.  Requests for one key are served in the order of arrival, and so are loads: who waits for
    room is overtaken only by requests for what is ready, and those older ones end.

A request is decided in this order: granted when its model is ready, agrees with its options and
has a slot; refused when its load has just failed; else it waits. What waits longest decides what
is loaded next, and if need be what must go: idle before busy, the least recently used first,
what is kept for ever only when nothing else is left.
"""

import math
import signal
from collections.abc import Iterator, Mapping
from typing import Final

from olmkit.engine.errors import EngineError, OutOfMemory, QueueFull, RunnerDied
from olmkit.engine.runner.protocol import LoadOptions
from olmkit.engine.scheduling.effects import Effect, Grant, Refuse, Start, Stop
from olmkit.engine.scheduling.fairness import Turns, first, greediest, place
from olmkit.engine.scheduling.instances import (
    Cause,
    Failure,
    Instance,
    InstanceId,
    Order,
    Shortage,
    State,
    TicketId,
    Waiter,
    still_missing,
)
from olmkit.registry.errors import Cancelled

FIRST_BACKOFF_S: Final = 1.0
MAX_BACKOFF_S: Final = 30.0
_KILLED: Final = (-signal.SIGKILL, -signal.SIGTERM)
FORGET_FAILURE_S: Final = 60.0
"""A failure this long after its back-off no longer lengthens the next one."""


class Scheduler:
    """The state of all instances and of all requests that wait."""

    def __init__(
        self,
        *,
        max_loaded: int,
        max_queue: int,
        max_queue_per_model: int,
        max_queue_per_key: int,
        keep_alive_s: float,
    ) -> None:
        self._max_loaded = max_loaded
        self._max_queue = max_queue
        self._max_queue_per_model = max_queue_per_model
        self._max_queue_per_key = max_queue_per_key
        self._keep_alive_s = keep_alive_s
        self._instances: dict[InstanceId, Instance] = {}
        self._by_key: dict[str, Instance] = {}
        self._queues: dict[str, dict[TicketId, Waiter]] = {}
        self._turns = Turns()
        self._leases: dict[TicketId, Instance] = {}
        self._failures: dict[tuple[str, LoadOptions], Failure] = {}
        self._shortages: dict[str, Shortage] = {}
        self._effects: list[Effect] = []
        self._last_id = 0
        self._is_closed = False
        self.evictions = 0
        """Instances that had to make room for others so far."""

    # --- what is known ----------------------------------------------------------------------

    @property
    def instances(self) -> list[Instance]:
        """Those that live, oldest first. To be read, not changed."""
        return list(self._instances.values())

    @property
    def waiting(self) -> int:
        """Requests that have no answer yet."""
        return sum(map(len, self._queues.values()))

    def position(self, key: str, ticket: TicketId) -> int | None:
        """The request's place among those that wait for the model, from 1 on.

        None: it does not wait, or for nothing but the model's load.
        """
        queue, instance = self._queues.get(key, {}), self._by_key.get(key)
        is_loading = instance is not None and instance.state is State.STARTING
        return None if ticket not in queue or is_loading else place(queue.values(), queue[ticket])

    @property
    def next_deadline_s(self) -> float:
        """When the next keep-alive time ends; infinite for never."""
        return min((i.deadline_s for i in self._instances.values()), default=math.inf)

    # --- events -----------------------------------------------------------------------------

    def on_request(
        self,
        ticket: TicketId,
        key: str,
        options: LoadOptions,
        *,
        keep_alive_s: float | None,
        caller: str = "",
        is_batch: bool = False,
        now_s: float,
    ) -> list[Effect]:
        """A request wants a lease on `key`. `ticket` is greater than all before it.

        `caller`: who takes turns with others; empty for all who have no name. `is_batch`: it comes
        after all that are not, and takes no model's last free sequence.
        """
        if self._is_closed:
            return [Refuse(ticket, _closing())]
        queue = self._queues.setdefault(key, {})
        instance = self._by_key.get(key)
        has_slot = instance is not None and instance.has_slot(is_batch=is_batch)
        at_once = not queue and has_slot and instance and instance.can_serve(options)
        if not at_once and (full := self._make_way(queue, caller, is_batch=is_batch)):
            return [*self._take_effects(), Refuse(ticket, full)]
        queue[ticket] = Waiter(
            ticket=ticket,
            options=options,
            keep_alive_s=keep_alive_s,
            caller=caller,
            turn=self._turns.next(caller, self._waiters()),
            is_batch=is_batch,
        )
        return self._settle(now_s)

    def on_leave(self, ticket: TicketId, *, now_s: float) -> list[Effect]:
        """The request no longer waits, or its lease has ended. Harmless when repeated."""
        for queue in self._queues.values():
            if waiter := queue.pop(ticket, None):
                self._turns.give_back(waiter.caller, self._waiters())
        instance = self._leases.pop(ticket, None)
        if instance is not None:
            instance.leases.discard(ticket)
            instance.batch_leases.discard(ticket)
            instance.used_at_s = now_s
            if instance.state is State.DRAINING and not instance.leases:
                self._stop(instance, instance.cause)
        return self._settle(now_s)

    def on_loaded(
        self,
        instance_id: InstanceId,
        *,
        context_tokens: int,
        trained_context_tokens: int,
        taken: Mapping[str, int],
        is_whole: bool = True,
        now_s: float,
    ) -> list[Effect]:
        """The model is loaded; `taken`: bytes by device that its end gives back."""
        instance = self._instances.get(instance_id)
        if instance is not None and instance.state is State.STARTING:
            instance.state = State.READY
            instance.context_tokens = context_tokens
            instance.trained_context_tokens = trained_context_tokens
            instance.taken = taken
            instance.is_whole = is_whole
            instance.used_at_s = now_s
            self._failures.pop((instance.key, instance.options), None)
        return self._settle(now_s)

    def on_load_failed(
        self,
        instance_id: InstanceId,
        error: EngineError | Cancelled,
        *,
        missing: Mapping[str, int] | None = None,
        now_s: float,
    ) -> list[Effect]:
        """The model was not loaded, and nothing is left of the attempt.

        Out of memory means that others must leave, until `missing` is covered if that is known
        (bytes by device). A load that somebody's signal ended is tried again once. Anything else
        fails all requests for this load, and those to come for a while.
        """
        instance = self._forget(instance_id)
        if instance is None:
            return self._settle(now_s)
        if isinstance(error, OutOfMemory):
            if self._can_free(missing):
                self._shortages[instance.key] = Shortage(
                    options=instance.options, missing=missing, loads=self._loads()
                )
            else:
                self._refuse(instance.key, instance.options, error)
        elif instance.state is State.STARTING:
            failure = self._remember_failure(instance, error, now_s)
            if now_s < failure.until_s:
                self._refuse(instance.key, instance.options, error)
        return self._settle(now_s)

    def on_gone(self, instance_id: InstanceId, *, now_s: float) -> list[Effect]:
        """The runner is no more, asked to or not. Requests that wait get a fresh one."""
        self._forget(instance_id)
        return self._settle(now_s)

    def on_unload(self, key: str, *, now_s: float) -> list[Effect]:
        """Unload `key` as soon as its leases have ended."""
        instance = self._by_key.get(key)
        if instance is not None and instance.state is State.STARTING:
            instance.keep_alive_s = 0.0
        elif instance is not None and instance.state is State.READY:
            self._drain(instance, Cause.ASKED)
        return self._settle(now_s)

    def on_tick(self, *, now_s: float) -> list[Effect]:
        """Time has passed."""
        return self._settle(now_s)

    def on_close(self) -> list[Effect]:
        """Refuse what waits and whatever comes; stop every instance, leases or not."""
        self._is_closed = True
        for queue in self._queues.values():
            self._effects += [Refuse(ticket, _closing()) for ticket in queue]
        self._queues.clear()
        self._shortages.clear()
        for instance in self._instances.values():
            if instance.state is not State.STOPPING:
                self._stop(instance, Cause.SHUTDOWN)
        return self._take_effects()

    # --- decisions --------------------------------------------------------------------------

    def _settle(self, now_s: float) -> list[Effect]:
        """Do all that can be done now: serve queues, expire, then load what is wanted."""
        self._queues = {key: queue for key, queue in self._queues.items() if queue}
        for key in self._keys_in_turn():
            self._serve(key, now_s)
        for instance in self._instances.values():
            if instance.deadline_s <= now_s:
                self._stop(instance, Cause.EXPIRED)
        for key in self._keys_in_turn():
            if key not in self._by_key and not self._try_start(key, now_s):
                break
        self._shortages = {k: s for k, s in self._shortages.items() if self._queues.get(k)}
        return self._take_effects()

    def _serve(self, key: str, now_s: float) -> None:
        """Answer requests for `key` in their turn, as long as they can be answered."""
        queue = self._queues[key]
        instance = self._by_key.get(key)
        while queue:
            waiter = first(queue.values())
            if instance is None:
                failure = self._failures.get((key, waiter.options))
                if failure is None or failure.until_s <= now_s:
                    return
                self._effects.append(Refuse(waiter.ticket, failure.error))
            elif instance.state is not State.READY:
                return
            elif not instance.can_serve(waiter.options):
                self._drain(instance, Cause.OPTIONS)
                return
            elif not instance.has_slot(is_batch=waiter.is_batch):
                return
            else:
                self._grant(instance, waiter)
            del queue[waiter.ticket]

    def _try_start(self, key: str, now_s: float) -> bool:
        """Load `key` for its first request, or see to it that room is made; False: not yet."""
        waiter = first(self._queues[key].values())
        if not self._has_memory(key, waiter):
            return False
        if len(self._instances) >= self._max_loaded:
            self._evict(None, waiter.order)
            return False
        self._last_id += 1
        instance = Instance(
            id=InstanceId(self._last_id),
            key=key,
            options=waiter.options,
            state=State.STARTING,
            keep_alive_s=self._keep_alive_s if waiter.keep_alive_s is None else waiter.keep_alive_s,
            used_at_s=now_s,
        )
        self._instances[instance.id] = self._by_key[key] = instance
        self._effects.append(Start(instance.id, waiter.ticket, waiter.options))
        return True

    def _has_memory(self, key: str, waiter: Waiter) -> bool:
        """False while a load that found too little memory waits for others."""
        shortage = self._shortages.get(key)
        if shortage is None:
            return True
        if shortage.options == waiter.options and self._is_short(shortage, waiter):
            return False
        del self._shortages[key]
        return True

    def _is_short(self, shortage: Shortage, waiter: Waiter) -> bool:
        """Whether nothing has ended yet that could have given the memory back."""
        if shortage.loads:
            return shortage.loads <= self._loads()
        if not shortage.leaving:
            shortage.leaving = self._evict(shortage.missing, waiter.order)
        still_there = shortage.leaving & self._instances.keys()
        holders = [one for one in self._instances.values() if one.has_any(shortage.missing)]
        return bool(still_there or (holders and not shortage.leaving))

    def _loads(self) -> set[InstanceId]:
        """Instances that are being loaded."""
        return {i.id for i in self._instances.values() if i.state is State.STARTING}

    def eviction_order(self) -> list[Instance]:
        """Ready instances, in the order in which they go when memory is short."""
        ready = [one for one in self._instances.values() if one.state is State.READY]
        return sorted(ready, key=lambda one: (one.is_pinned, not one.is_idle, one.used_at_s))

    def would_leave(self, missing: Mapping[str, int] | None) -> set[InstanceId]:
        """Who would leave for a request that came now and found that missing."""
        newest = (True, 1 << 62, TicketId(1 << 62))
        return {one.id for one in [*self._leaving(missing), *self._victims(missing, newest)]}

    def _evict(self, missing: Mapping[str, int] | None, order: Order) -> set[InstanceId]:
        """Make instances leave until enough is freed, or one leaves when that is not known.

        Those that leave already count, and those that have nothing of what is missing stay, as
        does an instance that requests before `order` wait for. Returns all that leave.
        """
        victims = self._victims(missing, order)
        leaving = self._leaving(missing)
        for victim in victims:
            victim.gives_way_to = order[-1]
            self._drain(victim, Cause.EVICTED)
        self.evictions += len(victims)
        return {instance.id for instance in [*leaving, *victims]}

    def _leaving(self, missing: Mapping[str, int] | None) -> list[Instance]:
        """Those on their way out that have some of what is missing."""
        instances = self._instances.values()
        return [one for one in instances if one.is_leaving and one.has_any(missing)]

    def _victims(self, missing: Mapping[str, int] | None, order: Order) -> list[Instance]:
        """Those that must leave beside those that do already."""
        going = self._leaving(missing)
        victims: list[Instance] = []
        for one in self.eviction_order():
            short = still_missing(missing, going)
            if going and not short:
                break
            if self._is_before(order, one.key) and one.has_any(None if missing is None else short):
                going.append(one)
                victims.append(one)
        return victims

    def _can_free(self, missing: Mapping[str, int] | None) -> bool:
        """Whether unloading everything else might give that many bytes."""
        others = list(self._instances.values())
        if self._loads():
            return True
        if missing is None:
            return any(any(other.taken.values()) for other in others)
        return bool(others) and not still_missing(missing, others)

    def _is_before(self, order: Order, key: str) -> bool:
        """Whether that turn is before that of all that wait for `key`."""
        queue = self._queues.get(key)
        return not queue or order < first(queue.values()).order

    def _waiters(self) -> Iterator[Waiter]:
        for queue in self._queues.values():
            yield from queue.values()

    # --- changes of state -------------------------------------------------------------------

    def _grant(self, instance: Instance, waiter: Waiter) -> None:
        instance.leases.add(waiter.ticket)
        if waiter.is_batch:
            instance.batch_leases.add(waiter.ticket)
        self._leases[waiter.ticket] = instance
        if waiter.keep_alive_s is not None:
            instance.keep_alive_s = waiter.keep_alive_s
        self._effects.append(Grant(waiter.ticket, instance.id))

    def _drain(self, instance: Instance, cause: Cause) -> None:
        instance.state, instance.cause = State.DRAINING, cause
        if not instance.leases:
            self._stop(instance, cause)

    def _stop(self, instance: Instance, cause: Cause) -> None:
        instance.state = State.STOPPING
        self._effects.append(Stop(instance.id, cause, instance.gives_way_to))

    def _forget(self, instance_id: InstanceId) -> Instance | None:
        instance = self._instances.pop(instance_id, None)
        if instance is not None:
            del self._by_key[instance.key]
            for ticket in instance.leases:
                del self._leases[ticket]
        return instance

    def _refuse(self, key: str, options: LoadOptions, error: EngineError | Cancelled) -> None:
        """Answer all requests that wait for this load."""
        queue = self._queues.get(key, {})
        for waiter in list(queue.values()):
            if waiter.options == options:
                del queue[waiter.ticket]
                self._effects.append(Refuse(waiter.ticket, error))

    def _remember_failure(
        self, instance: Instance, error: EngineError | Cancelled, now_s: float
    ) -> Failure:
        self._failures = {
            load: failure
            for load, failure in self._failures.items()
            if now_s < failure.until_s + FORGET_FAILURE_S
        }
        load = (instance.key, instance.options)
        count = self._failures[load].count + 1 if load in self._failures else 1
        if _was_killed(error):
            pause_s = FIRST_BACKOFF_S if count > 1 else 0.0
        else:
            pause_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (count - 1))
        failure = Failure(error=error, until_s=now_s + pause_s, count=count)
        self._failures[load] = failure
        return failure

    def _make_way(
        self, queue: dict[TicketId, Waiter], caller: str, *, is_batch: bool
    ) -> QueueFull | None:
        """Why one more request of the caller may not wait in this queue; None when it may.

        Where the line is full, the last batch request goes for one that is none, else the last
        request of who fills it for one who has fewer.
        """
        if caller and self._count(caller) >= self._max_queue_per_key:
            text = f"server busy: {self._max_queue_per_key} requests with this key wait already"
            return _queue_full(text, self._max_queue_per_key)
        if len(queue) >= self._max_queue_per_model:
            line = list(queue.values())
            text = f"server busy: {len(line)} requests wait for this model already"
        elif self.waiting >= self._max_queue:
            line = list(self._waiters())
            text = f"server busy: {len(line)} requests wait already"
        else:
            return None
        batch = [waiter for waiter in line if waiter.is_batch and not is_batch]
        last = max(batch, key=lambda one: one.order, default=None) or greediest(line, caller)
        if last is None:
            return _queue_full(text, len(line))
        for other in self._queues.values():
            other.pop(last.ticket, None)
        self._turns.give_back(last.caller, self._waiters())
        self._effects.append(Refuse(last.ticket, _queue_full(text, len(line))))
        return None

    def _count(self, caller: str) -> int:
        """Requests of the caller that wait."""
        return sum(waiter.caller == caller for waiter in self._waiters())

    def _keys_in_turn(self) -> list[str]:
        """Keys that requests wait for, the one whose turn it is first."""
        waiting = {key: queue for key, queue in self._queues.items() if queue}
        return sorted(waiting, key=lambda key: first(waiting[key].values()).order)

    def _take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects


def _closing() -> Cancelled:
    return Cancelled("the daemon is shutting down")


def _was_killed(error: EngineError | Cancelled) -> bool:
    """Whether somebody's signal ended the runner, which is no fault of the model's."""
    return isinstance(error, RunnerDied) and error.exit_status in _KILLED


def _queue_full(text: str, waiting: int) -> QueueFull:
    return QueueFull(text, retry_after_s=min(60, 1 + waiting // 4), position=waiting + 1)
