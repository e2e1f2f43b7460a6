"""The thread governor against a simulated machine: cores, neighbours, llama.cpp's spinning."""

import itertools
from dataclasses import dataclass

import pytest

from olmkit.engine.runner.decoding.governor import ThreadGovernor


@dataclass
class Machine:
    """Steps slow down hugely when threads and neighbours together want more than the cores."""

    cores: int
    neighbours: int = 0
    now_s: float = 0.0
    switches: int = 0

    def step_ns(self, threads: int) -> int:
        is_crowded = threads + self.neighbours > self.cores
        self.switches += is_crowded
        ns = 12_000_000 // threads * (6 if is_crowded and threads > 1 else 1)
        self.now_s += ns / 1e9
        return ns

    def governor(self) -> ThreadGovernor:
        return ThreadGovernor(
            self.cores,
            count_preemptions=lambda: self.switches,
            count_neighbours=lambda _: self.neighbours,
            glance=lambda: self.neighbours,
            cores=self.cores,
            clock_s=lambda: self.now_s,
        )


def run(machine: Machine, governor: ThreadGovernor, steps: int, shape: int = 1) -> float:
    """Steps a second over so many steps."""
    started_s = machine.now_s
    for _ in range(steps):
        governor.record(shape, machine.step_ns(governor.threads))
    return steps / (machine.now_s - started_s)


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_an_idle_machine_keeps_all_threads(cores: int) -> None:
    machine = Machine(cores=cores)
    governor = machine.governor()
    run(machine, governor, 1000)
    assert governor.threads == cores


@pytest.mark.parametrize(("cores", "neighbours"), [(2, 1), (4, 1), (4, 2), (8, 3)])
def test_busy_neighbours_get_their_cores(cores: int, neighbours: int) -> None:
    machine = Machine(cores=cores, neighbours=neighbours)
    governor = machine.governor()
    run(machine, governor, 100)
    free = cores - neighbours
    alone = free / 12e-3
    assert run(machine, governor, 3000) > 0.9 * alone


@pytest.mark.parametrize(("neighbours", "threads"), [(0, 8), (1, 7), (9, 1)])
def test_after_a_rest_the_neighbours_are_counted(neighbours: int, threads: int) -> None:
    assert Machine(cores=8, neighbours=neighbours).governor().wake() == threads


def test_a_daemon_that_takes_a_core_for_a_moment_at_each_token_is_no_neighbour() -> None:
    machine = Machine(cores=2)
    used = set()
    governor = machine.governor()
    for _ in range(3000):
        machine.switches += 1
        used.add(governor.record(1, machine.step_ns(governor.threads)))
    assert used == {2}


def test_where_neighbours_cannot_be_counted_preemptions_alone_decide() -> None:
    machine = Machine(cores=2, neighbours=1)
    governor = ThreadGovernor(
        2,
        count_preemptions=lambda: machine.switches,
        count_neighbours=lambda _: None,
        glance=lambda: None,
        cores=2,
        clock_s=lambda: machine.now_s,
    )
    run(machine, governor, 100)
    assert governor.threads == 1


def test_whoever_was_gone_a_moment_later_costs_no_thread() -> None:
    machine = Machine(cores=2, neighbours=1)
    governor = machine.governor()
    assert governor.wake() == 1
    machine.neighbours = 0
    for _ in range(20):
        machine.now_s += 0.01
        governor.refresh()
    assert governor.threads == 2


def test_a_neighbour_that_stays_keeps_its_core() -> None:
    machine = Machine(cores=2, neighbours=1)
    governor = machine.governor()
    governor.wake()
    for _ in range(200):
        machine.now_s += 0.01
        assert governor.refresh() == 1


def test_threads_come_back_when_the_neighbour_leaves() -> None:
    machine = Machine(cores=4, neighbours=2)
    governor = machine.governor()
    run(machine, governor, 2000)
    machine.neighbours = 0
    run(machine, governor, 30_000)
    assert governor.threads == 4


def test_a_single_preemption_now_and_then_changes_nothing() -> None:
    machine = Machine(cores=4)
    governor = machine.governor()
    for step in range(500):
        machine.switches += step % 7 == 0
        governor.record(1, machine.step_ns(4))
        assert governor.threads == 4


def test_steps_of_different_shapes_are_not_compared() -> None:
    machine = Machine(cores=4)
    governor = machine.governor()
    for shape in itertools.islice(itertools.cycle([1, 4]), 200):
        governor.record(shape, machine.step_ns(4) * shape)
    assert governor.threads == 4


def test_the_longer_a_step_will_take_the_longer_are_the_looks_before_it() -> None:
    patience_s: list[float] = []

    def look(seconds: float) -> int:
        patience_s.append(seconds)
        return 1 if seconds < 0.01 else 0

    governor = ThreadGovernor(2, count_preemptions=lambda: 0, count_neighbours=look, cores=2)
    assert governor.wake() == 1
    assert governor.wake(expected_ns=400_000_000) == 2
    assert patience_s == [0, 0.02]
