"""The scheduler's invariants under any order of events, with a pool that plays by the rules."""

import math

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from olmkit.engine.errors import EngineError, ModelUnloadable, OutOfMemory
from olmkit.engine.runner.protocol import LoadOptions
from olmkit.engine.scheduling.effects import Effect, Grant, Refuse, Start, Stop
from olmkit.engine.scheduling.instances import InstanceId, State, TicketId
from olmkit.engine.scheduling.scheduler import Scheduler

KEYS = ("a", "b", "c", "d")
CONTEXTS = (1024, 2048, 4096)
DATA = st.data()


def _on_cpu(size_bytes: int | None) -> dict[str, int] | None:
    return None if size_bytes is None else {"CPU": size_bytes}


class SchedulerMachine(RuleBasedStateMachine):
    """Plays the pool: knows which loads and stops are under way and ends them in any order."""

    @initialize(
        max_loaded=st.integers(1, 3),
        max_queue=st.integers(1, 8),
        keep_alive_s=st.sampled_from([0.0, 5.0, math.inf]),
        sequences=st.integers(1, 2),
    )
    def begin(self, max_loaded: int, max_queue: int, keep_alive_s: float, sequences: int) -> None:
        self.now_s = 0.0
        self.max_loaded = max_loaded
        self.sequences = sequences
        self.scheduler = Scheduler(
            max_loaded=max_loaded,
            max_queue=max_queue,
            max_queue_per_model=max(1, max_queue // 2),
            keep_alive_s=keep_alive_s,
        )
        self.last_ticket = 0
        self.waiting: dict[TicketId, tuple[str, LoadOptions]] = {}
        self.leases: dict[TicketId, InstanceId] = {}
        self.loading: dict[InstanceId, tuple[str, LoadOptions]] = {}
        self.ready: dict[InstanceId, tuple[str, LoadOptions]] = {}
        self.stopping: dict[InstanceId, tuple[str, LoadOptions]] = {}
        self.keys: dict[TicketId, tuple[str, LoadOptions]] = {}

    # --- the pool's side --------------------------------------------------------------------

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Grant(ticket, instance):
                    key, options = self.waiting.pop(ticket)
                    has_key, has = self.ready[instance]
                    assert key == has_key
                    assert has.context_tokens >= options.context_tokens
                    self.leases[ticket] = instance
                    users = [t for t, i in self.leases.items() if i == instance]
                    assert len(users) <= self.sequences
                case Refuse(ticket, error):
                    assert isinstance(error, EngineError)
                    del self.waiting[ticket]
                case Start(instance, ticket, options):
                    key, wanted = self.keys[ticket]
                    assert ticket in self.waiting
                    assert options == wanted
                    assert key not in {k for k, _ in self.live().values()}
                    self.loading[instance] = (key, options)
                    assert len(self.live()) <= self.max_loaded
                case Stop(instance):
                    assert not [t for t, i in self.leases.items() if i == instance]
                    self.stopping[instance] = self.ready.pop(instance)

    def live(self) -> dict[InstanceId, tuple[str, LoadOptions]]:
        return self.loading | self.ready | self.stopping

    # --- events -----------------------------------------------------------------------------

    @rule(
        key=st.sampled_from(KEYS),
        context_tokens=st.sampled_from(CONTEXTS),
        keep_alive_s=st.sampled_from([None, 0.0, 3.0, math.inf]),
    )
    def request(self, key: str, context_tokens: int, keep_alive_s: float | None) -> None:
        self.last_ticket += 1
        ticket = TicketId(self.last_ticket)
        options = LoadOptions(context_tokens=context_tokens, sequences=self.sequences)
        self.waiting[ticket] = self.keys[ticket] = (key, options)
        self.carry_out(
            self.scheduler.on_request(
                ticket, key, options, keep_alive_s=keep_alive_s, now_s=self.now_s
            )
        )

    @precondition(lambda self: self.waiting or self.leases)
    @rule(data=DATA)
    def leave(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.waiting | self.leases)))
        self.waiting.pop(ticket, None)
        self.leases.pop(ticket, None)
        self.carry_out(self.scheduler.on_leave(ticket, now_s=self.now_s))

    @precondition(lambda self: self.loading)
    @rule(data=DATA)
    def finish_load(self, data: st.DataObject) -> None:
        self.end_load(data.draw(st.sampled_from(sorted(self.loading))))

    def end_load(self, instance: InstanceId) -> None:
        self.ready[instance] = self.loading.pop(instance)
        self.carry_out(
            self.scheduler.on_loaded(
                instance,
                context_tokens=self.ready[instance][1].context_tokens,
                trained_context_tokens=8192,
                taken={"CPU": 100},
                now_s=self.now_s,
            )
        )

    @precondition(lambda self: self.loading)
    @rule(data=DATA, missing=st.sampled_from(["not memory", None, 50, 150, 10_000]))
    def fail_load(self, data: st.DataObject, missing: int | str | None) -> None:
        instance = data.draw(st.sampled_from(sorted(self.loading)))
        del self.loading[instance]
        missing_bytes = missing if isinstance(missing, int) else None
        error: EngineError = OutOfMemory("too little memory")
        if missing == "not memory":
            error = ModelUnloadable("corrupt", model="m")
        self.carry_out(
            self.scheduler.on_load_failed(
                instance, error, missing=_on_cpu(missing_bytes), now_s=self.now_s
            )
        )

    @precondition(lambda self: self.stopping)
    @rule(data=DATA)
    def finish_stop(self, data: st.DataObject) -> None:
        self.end_stop(data.draw(st.sampled_from(sorted(self.stopping))))

    def end_stop(self, instance: InstanceId) -> None:
        del self.stopping[instance]
        self.carry_out(self.scheduler.on_gone(instance, now_s=self.now_s))

    @precondition(lambda self: self.ready)
    @rule(data=DATA)
    def die(self, data: st.DataObject) -> None:
        instance = data.draw(st.sampled_from(sorted(self.ready)))
        del self.ready[instance]
        orphans = [ticket for ticket, i in self.leases.items() if i == instance]
        self.carry_out(self.scheduler.on_gone(instance, now_s=self.now_s))
        for ticket in orphans:
            del self.leases[ticket]
            self.carry_out(self.scheduler.on_leave(ticket, now_s=self.now_s))

    @rule(key=st.sampled_from(KEYS))
    def unload(self, key: str) -> None:
        self.carry_out(self.scheduler.on_unload(key, now_s=self.now_s))

    @rule(seconds=st.sampled_from([0.1, 2.0, 20.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.carry_out(self.scheduler.on_tick(now_s=self.now_s))

    @rule(ticket=st.integers(1, 60), instance=st.integers(1, 60))
    def stale_events_do_nothing(self, ticket: int, instance: int) -> None:
        if ticket not in self.waiting and ticket not in self.leases:
            self.carry_out(self.scheduler.on_leave(TicketId(ticket), now_s=self.now_s))
        if instance not in self.live():
            self.carry_out(self.scheduler.on_gone(InstanceId(instance), now_s=self.now_s))

    # --- what always holds ------------------------------------------------------------------

    @invariant()
    def agrees_on_what_lives(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        by_state: dict[State, set[InstanceId]] = {state: set() for state in State}
        for instance in self.scheduler.instances:
            by_state[instance.state].add(instance.id)
            users = {ticket for ticket, i in self.leases.items() if i == instance.id}
            assert instance.leases == users
        assert by_state[State.STARTING] == self.loading.keys()
        assert by_state[State.READY] | by_state[State.DRAINING] == self.ready.keys()
        assert by_state[State.STOPPING] == self.stopping.keys()
        assert self.scheduler.waiting == len(self.waiting)

    @invariant()
    def somebody_works_for_those_who_wait(self) -> None:
        """A request waits only for something under way: a load, a stop, or a lease to end."""
        if hasattr(self, "scheduler") and self.waiting:
            assert self.loading or self.stopping or self.leases

    @invariant()
    def nothing_idle_is_past_its_time(self) -> None:
        if hasattr(self, "scheduler"):
            assert self.scheduler.next_deadline_s > self.now_s

    def teardown(self) -> None:
        """No starvation: loads, stops and leases end in time, every lease that ends is asked for
        again at once, and still all who wait now are answered."""
        if not hasattr(self, "scheduler"):
            return
        waiting = set(self.waiting)
        for _ in range(300):
            if not waiting & self.waiting.keys():
                break
            if self.stopping:
                self.end_stop(min(self.stopping))
            elif self.loading:
                self.end_load(min(self.loading))
            else:
                ticket = min(self.leases)
                del self.leases[ticket]
                key, options = self.keys[ticket]
                self.request(key=key, context_tokens=options.context_tokens, keep_alive_s=None)
                self.carry_out(self.scheduler.on_leave(ticket, now_s=self.now_s))
        assert not waiting & self.waiting.keys()
        self.carry_out_close()

    def carry_out_close(self) -> None:
        effects = self.scheduler.on_close()
        stopped = {effect.instance for effect in effects if isinstance(effect, Stop)}
        refused = {effect.ticket for effect in effects if isinstance(effect, Refuse)}
        assert stopped == self.live().keys() - self.stopping.keys()
        assert refused == self.waiting.keys()
        assert len(effects) == len(stopped) + len(refused)
        late = TicketId(self.last_ticket + 1)
        options = LoadOptions(context_tokens=1)
        answer = self.scheduler.on_request(late, "a", options, keep_alive_s=None, now_s=self.now_s)
        assert [type(effect) for effect in answer] == [Refuse]


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
