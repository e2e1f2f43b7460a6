"""Decisions of the scheduler, one at a time, without time or processes."""

import math
import signal

import pytest

from olmkit.engine.errors import EngineError, ModelUnloadable, OutOfMemory, QueueFull, RunnerDied
from olmkit.engine.runner.protocol import LoadOptions
from olmkit.engine.scheduling.effects import Effect, Grant, Refuse, Start, Stop
from olmkit.engine.scheduling.instances import Cause, InstanceId, TicketId
from olmkit.engine.scheduling.scheduler import Scheduler
from olmkit.registry.errors import Cancelled

CORRUPT = ModelUnloadable("corrupt", model="m")
NO_MEMORY = OutOfMemory("too little")


def _on_cpu(size_bytes: int | None) -> dict[str, int] | None:
    return None if size_bytes is None else {"CPU": size_bytes}


class Bench:
    """A scheduler with a clock that is set by hand and tickets that count up."""

    def __init__(
        self,
        *,
        max_loaded: int = 3,
        max_queue: int = 100,
        max_queue_per_model: int = 50,
        max_queue_per_key: int = 50,
        keep_alive_s: float = 300,
    ) -> None:
        self.scheduler = Scheduler(
            max_loaded=max_loaded,
            max_queue=max_queue,
            max_queue_per_model=max_queue_per_model,
            max_queue_per_key=max_queue_per_key,
            keep_alive_s=keep_alive_s,
        )
        self.now_s = 0.0
        self.tickets = 0

    def ask(
        self,
        key: str,
        *,
        context: int = 4096,
        sequences: int = 4,
        keep_alive_s: float | None = None,
        caller: str = "",
        is_batch: bool = False,
    ) -> list[Effect]:
        self.tickets += 1
        options = LoadOptions(context_tokens=context, sequences=sequences)
        return self.scheduler.on_request(
            TicketId(self.tickets),
            key,
            options,
            keep_alive_s=keep_alive_s,
            caller=caller,
            is_batch=is_batch,
            now_s=self.now_s,
        )

    def loaded(self, instance: int, *, context: int = 4096, size_bytes: int = 100) -> list[Effect]:
        return self.scheduler.on_loaded(
            InstanceId(instance),
            context_tokens=context,
            trained_context_tokens=8192,
            taken={"CPU": size_bytes},
            now_s=self.now_s,
        )

    def failed(
        self, instance: int, error: EngineError, missing_bytes: int | None = None
    ) -> list[Effect]:
        return self.scheduler.on_load_failed(
            InstanceId(instance), error, missing=_on_cpu(missing_bytes), now_s=self.now_s
        )

    def leave(self, ticket: int) -> list[Effect]:
        return self.scheduler.on_leave(TicketId(ticket), now_s=self.now_s)

    def gone(self, instance: int) -> list[Effect]:
        return self.scheduler.on_gone(InstanceId(instance), now_s=self.now_s)

    def use(self, key: str, instance: int, *, keep_alive_s: float | None = None) -> None:
        """Load `key` as `instance` and leave it idle."""
        assert starts(self.ask(key, keep_alive_s=keep_alive_s)) == [instance]
        assert grants(self.loaded(instance)) == [(self.tickets, instance)]
        assert self.leave(self.tickets) == []


def starts(effects: list[Effect]) -> list[int]:
    return [effect.instance for effect in effects if isinstance(effect, Start)]


def stops(effects: list[Effect]) -> list[int]:
    return [effect.instance for effect in effects if isinstance(effect, Stop)]


def grants(effects: list[Effect]) -> list[tuple[int, int]]:
    return [(effect.ticket, effect.instance) for effect in effects if isinstance(effect, Grant)]


def refusals(effects: list[Effect]) -> list[tuple[int, EngineError | Cancelled]]:
    return [(effect.ticket, effect.error) for effect in effects if isinstance(effect, Refuse)]


def test_requests_for_a_model_that_loads_wait_for_that_load() -> None:
    bench = Bench()
    assert starts(bench.ask("a")) == [1]
    assert bench.ask("a") == []
    assert bench.ask("a") == []
    assert grants(bench.loaded(1)) == [(1, 1), (2, 1), (3, 1)]


def test_a_request_over_the_sequences_waits_for_a_lease_to_end() -> None:
    bench = Bench()
    for _ in range(3):
        bench.ask("a", sequences=2)
    assert grants(bench.loaded(1)) == [(1, 1), (2, 1)]
    assert grants(bench.leave(1)) == [(3, 1)]


def test_a_longer_context_drains_and_reloads_a_shorter_does_not() -> None:
    bench = Bench()
    bench.use("a", 1)
    assert grants(bench.ask("a", context=1024)) == [(2, 1)]
    assert bench.ask("a", context=8192) == []
    assert bench.ask("a", context=1024) == [], "overtakes nobody"
    assert stops(bench.leave(2)) == [1]
    assert starts(bench.gone(1)) == [2]
    assert grants(bench.loaded(2, context=8192)) == [(3, 2), (4, 2)]


def test_nobody_waits_for_more_context_than_the_model_was_trained_on() -> None:
    bench = Bench()
    bench.ask("a", context=100_000)
    bench.loaded(1, context=8192)
    assert grants(bench.ask("a", context=200_000)) == [(2, 1)]


def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    bench = Bench(max_queue_per_model=2, max_queue=3)
    assert refusals(bench.ask("a") + bench.ask("a")) == []
    ((ticket, error),) = refusals(bench.ask("a"))
    assert (ticket, type(error)) == (3, QueueFull)
    assert isinstance(error, QueueFull)
    assert error.retry_after_s >= 1
    assert refusals(bench.ask("b")) == []
    ((ticket, error),) = refusals(bench.ask("c"))
    assert (ticket, type(error)) == (5, QueueFull)


def test_a_full_queue_refuses_nobody_who_need_not_wait() -> None:
    bench = Bench(max_queue=1)
    bench.use("a", 1)
    bench.ask("b")
    assert grants(bench.ask("a")) == [(3, 1)]


def test_keep_alive_counts_from_the_last_lease_and_only_while_idle() -> None:
    bench = Bench(keep_alive_s=10)
    bench.use("a", 1)
    assert bench.scheduler.next_deadline_s == 10
    bench.now_s = 5
    bench.ask("a")
    assert bench.scheduler.next_deadline_s == math.inf
    bench.now_s = 100
    assert bench.scheduler.on_tick(now_s=100) == []
    bench.leave(2)
    assert bench.scheduler.next_deadline_s == 110
    assert stops(bench.scheduler.on_tick(now_s=110)) == [1]


@pytest.mark.parametrize(
    ("first", "second", "deadline"), [(20, None, 20), (20, 5, 5), (5, 20, 20), (math.inf, 5, 5)]
)
def test_an_explicit_keep_alive_replaces_and_an_absent_one_leaves(
    first: float, second: float | None, deadline: float
) -> None:
    bench = Bench()
    bench.use("a", 1, keep_alive_s=first)
    bench.ask("a", keep_alive_s=second)
    bench.leave(2)
    assert bench.scheduler.next_deadline_s == deadline


def test_keep_alive_zero_stops_when_idle() -> None:
    bench = Bench()
    bench.ask("a", keep_alive_s=0)
    bench.ask("a")
    assert grants(bench.loaded(1)) == [(1, 1), (2, 1)]
    assert bench.leave(1) == []
    assert stops(bench.leave(2)) == [1]


def test_unloading_drains_and_later_requests_get_a_fresh_instance() -> None:
    bench = Bench()
    bench.ask("a")
    bench.loaded(1)
    assert bench.scheduler.on_unload("a", now_s=0) == []
    assert bench.ask("a", keep_alive_s=600) == [], "a victim is never revived"
    assert stops(bench.leave(1)) == [1]
    assert starts(bench.gone(1)) == [2]


def test_unloading_while_loading_serves_those_who_wait_first() -> None:
    bench = Bench()
    bench.ask("a")
    assert bench.scheduler.on_unload("a", now_s=0) == []
    assert grants(bench.loaded(1)) == [(1, 1)]
    assert stops(bench.leave(1)) == [1]


def test_the_least_recently_used_idle_instance_makes_room() -> None:
    bench = Bench(max_loaded=3)
    for number, key in enumerate("abc", start=1):
        bench.now_s += 1
        bench.use(key, number)
    bench.now_s = 9
    bench.ask("a")
    bench.leave(4)
    assert stops(bench.ask("d")) == [2]
    assert starts(bench.gone(2)) == [4]


def test_idle_goes_before_busy_and_what_is_kept_for_ever_last() -> None:
    bench = Bench(max_loaded=3)
    bench.use("kept", 1, keep_alive_s=math.inf)
    bench.ask("busy")
    bench.loaded(2)
    bench.now_s = 5
    bench.use("idle", 3)
    assert stops(bench.ask("x")) == [3]
    assert starts(bench.gone(3)) == [4]
    bench.loaded(4)
    assert stops(bench.ask("y")) == [], "both unpinned ones are busy: the older is drained"
    assert stops(bench.leave(2)) == [2]
    assert starts(bench.gone(2)) == [5]


def test_a_busy_instance_serves_older_requests_before_it_is_drained() -> None:
    bench = Bench(max_loaded=1)
    bench.ask("a", sequences=1)
    bench.ask("a", sequences=1)
    bench.loaded(1)
    bench.ask("b")
    bench.ask("a", sequences=1)
    assert grants(bench.leave(1)) == [(2, 1)]
    assert stops(bench.leave(2)) == [1], "the request after b's waits for b"
    assert starts(bench.gone(1)) == [2]
    assert grants(bench.loaded(2)) == [(3, 2)]
    assert stops(bench.leave(3)) == [2]


def test_a_failed_load_refuses_those_with_the_same_options_only() -> None:
    bench = Bench()
    bench.ask("a", context=8192)
    bench.ask("a", context=1024)
    bench.ask("a", context=8192)
    effects = bench.failed(1, CORRUPT)
    assert refusals(effects) == [(1, CORRUPT), (3, CORRUPT)]
    assert starts(effects) == [2]


def test_a_failed_load_is_tried_again_after_a_growing_pause() -> None:
    bench = Bench()
    instance = 0
    for pause_s in (1, 2, 4, 8, 16, 30, 30):
        instance += 1
        assert starts(bench.ask("a")) == [instance]
        bench.failed(instance, CORRUPT)
        bench.now_s += pause_s - 0.1
        assert [error for _, error in refusals(bench.ask("a"))] == [CORRUPT]
        bench.now_s += 0.2
    bench.now_s += 100
    assert starts(bench.ask("a")) == [instance + 1]
    bench.failed(instance + 1, CORRUPT)
    bench.now_s += 1.1
    assert starts(bench.ask("a")) == [instance + 2]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_load_that_a_signal_ended_is_tried_again_once_and_pauses_do_not_grow(
    number: signal.Signals,
) -> None:
    killed = RunnerDied("the runner of a was killed", model="a", exit_status=-number)
    bench = Bench()
    bench.ask("a")
    assert starts(bench.failed(1, killed)) == [2]
    for instance in (2, 3, 4):
        assert [error for _, error in refusals(bench.failed(instance, killed))] == [killed]
        assert [error for _, error in refusals(bench.ask("a"))] == [killed]
        bench.now_s += 1.1
        assert starts(bench.ask("a")) == [instance + 1]


def test_a_load_that_crashed_is_not_tried_again() -> None:
    crashed = RunnerDied("the runner of a crashed", model="a", exit_status=-signal.SIGSEGV)
    bench = Bench()
    bench.ask("a")
    effects = bench.failed(1, crashed)
    assert refusals(effects) == [(1, crashed)]
    assert starts(effects) == []


def test_a_runner_that_dies_at_work_has_no_pause() -> None:
    bench = Bench()
    bench.ask("a", sequences=1)
    bench.loaded(1)
    bench.ask("a", sequences=1)
    assert starts(bench.gone(1)) == [2]
    assert bench.leave(1) == []
    assert grants(bench.loaded(2)) == [(2, 2)]


def test_too_little_memory_evicts_as_many_as_needed_then_tries_again() -> None:
    bench = Bench()
    for number, key in enumerate("ab", start=1):
        bench.now_s += 1
        bench.use(key, number)
    assert starts(bench.ask("c")) == [3]
    assert stops(bench.failed(3, NO_MEMORY, missing_bytes=150)) == [1, 2]
    assert starts(bench.gone(2)) == []
    assert starts(bench.gone(1)) == [4]


def test_unknown_shortage_evicts_one_at_a_time() -> None:
    bench = Bench()
    for number, key in enumerate("ab", start=1):
        bench.now_s += 1
        bench.use(key, number)
    bench.ask("c")
    assert stops(bench.failed(3, NO_MEMORY)) == [1]
    assert starts(bench.gone(1)) == [4]
    assert stops(bench.failed(4, NO_MEMORY)) == [2]
    assert starts(bench.gone(2)) == [5]
    assert refusals(bench.failed(5, NO_MEMORY)) == [(3, NO_MEMORY)]


def test_what_cannot_fit_at_all_evicts_nobody() -> None:
    bench = Bench()
    bench.use("a", 1)
    bench.ask("b")
    effects = bench.failed(2, NO_MEMORY, missing_bytes=101)
    assert refusals(effects) == [(2, NO_MEMORY)]
    assert stops(effects) == []
    assert starts(bench.ask("b")) == [3], "memory may be there a moment later"


def test_a_shortage_beside_another_load_waits_for_its_end_before_it_evicts() -> None:
    bench = Bench()
    bench.ask("a")
    bench.ask("b")
    assert bench.failed(2, NO_MEMORY, missing_bytes=50) == []
    effects = bench.loaded(1)
    assert grants(effects) == [(1, 1)]
    assert starts(effects) == [3], "it was counted in full while it loaded"
    assert stops(effects) == []


def test_who_waits_for_memory_is_not_overtaken_by_younger_loads() -> None:
    bench = Bench()
    bench.ask("a")
    bench.loaded(1)
    bench.ask("b")
    bench.failed(2, NO_MEMORY, missing_bytes=50)
    assert bench.ask("c") == []
    assert stops(bench.leave(1)) == [1]
    assert starts(bench.gone(1)) == [3, 4]


def test_closing_refuses_stops_and_stays_closed() -> None:
    bench = Bench()
    bench.ask("a")
    bench.loaded(1)
    bench.ask("b")
    effects = bench.scheduler.on_close()
    assert sorted(stops(effects)) == [1, 2]
    ((ticket, error),) = refusals(effects)
    assert (ticket, type(error)) == (2, Cancelled)
    assert bench.gone(1) == []
    assert bench.gone(2) == []
    assert [type(error) for _, error in refusals(bench.ask("a"))] == [Cancelled]


def test_a_caller_with_one_request_is_behind_one_of_each_other() -> None:
    bench = Bench()
    bench.use("a", 1)
    for _ in range(4):
        bench.ask("a", caller="ann")  # 2 to 5: all slots
    for _ in range(40):
        assert bench.ask("a", caller="ann") == []
    assert bench.ask("a", caller="bob") == []
    assert bench.ask("a", caller="cid") == []
    assert bench.ask("a", caller="bob") == []
    order = [grants(bench.leave(ticket))[0][0] for ticket in (2, 3, 4, 5, 6)]
    assert order == [6, 46, 47, 7, 48]


def test_turns_count_over_all_models() -> None:
    bench = Bench(max_loaded=1)
    bench.use("a", 1)
    for _ in range(4):
        bench.ask("a", caller="ann")
    for _ in range(10):
        bench.ask("a", caller="ann")
    bench.ask("b", caller="bob")
    assert grants(bench.leave(2)) == [(6, 1)]
    # Now it is bob's turn: the model of ann's other requests takes no more of them.
    for ticket in (3, 4, 5):
        assert bench.leave(ticket) == []
    assert bench.leave(6) == [Stop(InstanceId(1), Cause.EVICTED, TicketId(16))]
    assert starts(bench.gone(1)) == [2]


def test_a_full_line_sends_away_the_last_of_who_fills_it() -> None:
    bench = Bench(max_queue_per_model=4)
    for _ in range(4):
        bench.ask("a", caller="ann")
    (refusal,) = bench.ask("a", caller="bob")
    assert isinstance(refusal, Refuse)
    assert refusal.ticket == 4
    assert isinstance(refusal.error, QueueFull)
    assert refusal.error.position == 5
    (refusal,) = bench.ask("a", caller="bob")
    assert isinstance(refusal, Refuse)
    assert refusal.ticket == 3
    (refusal,) = bench.ask("a", caller="bob")
    assert isinstance(refusal, Refuse)
    assert refusal.ticket == 7  # two each
    assert bench.scheduler.waiting == 4


def test_a_key_has_a_line_of_its_own_length() -> None:
    bench = Bench(max_queue_per_key=2)
    bench.ask("a", caller="ann")
    bench.ask("b", caller="ann")
    (refusal,) = bench.ask("c", caller="ann")
    assert isinstance(refusal, Refuse)
    assert "with this key" in str(refusal.error)
    assert not any(isinstance(effect, Refuse) for effect in bench.ask("c", caller="bob"))
    for _ in range(5):  # who has no key shares no key's line
        assert not any(isinstance(effect, Refuse) for effect in bench.ask("c"))


def test_a_request_that_somebody_waits_for_comes_before_batch() -> None:
    bench = Bench()
    bench.use("a", 1)
    for _ in range(4):
        bench.ask("a")
    for is_batch in (True, True, False):
        assert bench.ask("a", is_batch=is_batch) == []
    assert grants(bench.leave(2)) == [(8, 1)]
    assert grants(bench.leave(3)) == [(6, 1)]


def test_batch_leaves_one_sequence_to_those_who_wait() -> None:
    bench = Bench()
    bench.use("a", 1)
    granted = [grants(bench.ask("a", is_batch=True)) for _ in range(4)]
    assert granted == [[(2, 1)], [(3, 1)], [(4, 1)], []]
    assert grants(bench.ask("a")) == [(6, 1)]
    assert grants(bench.leave(6)) == []
    assert grants(bench.leave(2)) == [(5, 1)]


def test_batch_has_a_model_of_one_sequence_to_itself() -> None:
    bench = Bench()
    bench.ask("a", sequences=1, is_batch=True)
    assert grants(bench.loaded(1)) == [(1, 1)]


def test_the_last_batch_request_makes_way_where_the_line_is_full() -> None:
    bench = Bench(max_queue_per_model=2)
    for is_batch in (True, True):
        bench.ask("a", is_batch=is_batch)
    assert [ticket for ticket, _ in refusals(bench.ask("a"))] == [2]
    assert [ticket for ticket, _ in refusals(bench.ask("a", is_batch=True))] == [4]
    assert [ticket for ticket, _ in refusals(bench.ask("a"))] == [1]
    assert [ticket for ticket, _ in refusals(bench.ask("a"))] == [6]
