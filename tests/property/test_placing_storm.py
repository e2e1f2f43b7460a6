"""Loads, evictions and accidents in any order, through the pool that the daemon has.

The machine under it is made of memory alone (`support.memorymachine`). `TEST_STORMS=10000` makes
as many cases; a case is found again by its number.
"""

import asyncio
import logging
import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import cast

import pytest

from olmkit.engine.errors import EngineError
from olmkit.engine.planning.ledger import HOST
from olmkit.engine.runner.protocol import LoadOptions
from olmkit.engine.scheduling.pool import MOST_ATTEMPTS, Pool
from olmkit.engine.settings import Settings
from olmkit.engine.supervision.interface import ExitReason, Runner
from olmkit.engine.telemetry.eventlog import EventLog
from olmkit.registry.errors import Cancelled
from support.memorymachine import (
    MIB,
    Memory,
    MemoryMachine,
    MemoryModel,
    MemoryRunner,
    TimelessLoop,
    memory_model,
    random_machine,
)

STORMS = int(os.environ.get("TEST_STORMS", "300"))
PARTS = 5
KINDS: Counter[str] = Counter()
"""Of what came about, how often."""


class Storm:
    """One case: a machine, some models, events, and what must hold after each."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.machine = random_machine(self.random)
        self.models = [self.model(f"m{number}") for number in range(self.random.randint(1, 4))]
        self.runners: list[MemoryRunner] = []
        self.starts = self.requests = 0
        self.pool: Pool

    def model(self, name: str) -> MemoryModel:
        size = self.random.choice([1, 4, 10]) * MIB
        layers = [size * self.random.randint(1, 2) for _ in range(self.random.randint(1, 12))]
        over = self.random.choice([0.5, 1.0, 1.5])
        return memory_model(name, layers, over=over, kv_heads=self.random.choice([1, 4]))

    async def start_runner(self, name: str) -> Runner:
        disturbances = self.machine.disturbances()
        await asyncio.sleep(0.01)
        self.starts += 1
        model = next(one for one in self.models if one.name == name)
        runner = MemoryRunner(self.machine, model, disturbances=disturbances)
        self.runners.append(runner)
        return cast("Runner", runner)  # it loads and ends, and nothing else is asked of it

    async def run(self) -> list[str]:
        """What happened, in order."""
        self.most_loaded = self.random.randint(1, 4)
        settings = Settings(
            max_loaded_models=self.most_loaded,
            keep_alive_s=self.random.choice([1.0, 60.0]),
            gpu_overhead_bytes=self.random.choice([0, 0, 5 * MIB]),
            spreads=self.random.random() < 0.2,
            degrade=self.random.choice(["warn", "warn", "error"]),
        )
        self.events = EventLog()
        self.pool = Pool(
            settings,
            start_runner=self.start_runner,
            free_bytes=self.machine.free_host_bytes,
            free_swap_bytes=lambda: 0,
            list_devices=lambda used: self.machine.listed(),
            events=self.events,
        )
        asking = []
        try:
            for _ in range(self.random.randint(3, 10)):
                if self.random.random() < 0.6:
                    asking.append(asyncio.ensure_future(self.ask()))
                else:
                    self.accident()
                await asyncio.sleep(self.random.choice([0, 0.005, 0.05, 0.3, 2.0]))
                self.check()
            async with asyncio.timeout(600):  # nobody waits for ever
                await asyncio.gather(*asking)
            self.check()
        finally:
            await self.pool.close()
        await self.check_evictions()
        assert not self.pool.instances()
        assert all(not memory.taken for memory in self.machine.memories.values())
        return self.machine.trace

    async def ask(self) -> None:
        model = self.random.choice(self.models)
        options = LoadOptions(
            context_tokens=self.random.choice([0, 256, 2048, 8192]),
            gpu_layers=self.random.choice([-1, -1, -1, 0, 2]),
            require_gpu=self.random.random() < 0.1,
            least_context_tokens=self.random.choice([0, 0, 512]),
        )
        held_s = self.random.choice([0, 0.2, 3.0])
        self.requests += 1
        try:
            async with self.pool.lease(model, options):
                (info,) = [one for one in self.pool.instances() if one.model_key == model.name]
                KINDS[f"{len(info.devices.keys() - {HOST})} devices"] += 1
                KINDS["in part"] += 0 < info.size_vram_bytes < info.size_bytes
                self.machine.trace.append(f"lease {model.name}")
                await asyncio.sleep(held_s)
        except (EngineError, Cancelled) as error:
            KINDS["refused"] += 1
            self.machine.trace.append(f"{model.name}: {error}")

    def accident(self) -> None:
        name = self.random.choice(list(self.machine.memories))
        memory = self.machine.memories[name]
        match self.random.randint(0, 4):
            case 0:
                more = self.random.randint(0, memory.free_bytes)
                memory.others_bytes += more
                memory.disturbed += 1
            case 1:
                memory.others_bytes = 0
            case 2 if name != HOST:
                memory.is_there = not memory.is_there
                memory.disturbed += 1
                for runner in [*memory.taken] if not memory.is_there else ():
                    runner.end(ExitReason.SIGNALLED)
            case 3 if loaded := [one for one in self.runners if one.loaded]:
                self.random.choice(loaded).end(ExitReason.SIGNALLED)
            case 4:
                self.machine.refusals = self.random.randint(1, 3)
        self.machine.trace.append(f"accident of {name}")

    async def check_evictions(self) -> None:
        """Where nobody else uses the machine, nobody has left for a model that was then not loaded.

        Not where a header says less than a load takes, which is known after others have left only;
        nor on chips with one memory, where the processor may be refused what the card was not.
        """
        winners = {
            event.facts["gives_way_to"]
            async for event in self.events.read(1, follows=False)
            if event.action == "evict"
        }
        KINDS["evicted"] += bool(winners)
        has_places = self.most_loaded >= len(self.models)  # others leave for a place, unasked
        has_facts = all(one.over <= 1 for one in self.models) and not self.machine.integrated
        if has_places and has_facts and not self.machine.disturbances():
            loaded = {line.split()[1] for line in self.machine.trace if line.startswith("loaded ")}
            assert winners <= loaded, winners - loaded

    def check(self) -> None:
        for name, memory in self.machine.memories.items():
            assert sum(memory.taken.values()) <= memory.total_bytes, name
        assert not self.machine.unexcused, self.machine.unexcused
        # Nobody is loaded who was not asked for, and no load is tried without an end.
        evictions = self.pool.evictions
        accidents = sum(line.startswith("accident") for line in self.machine.trace)
        assert self.starts <= MOST_ATTEMPTS * (2 * self.requests + accidents + evictions)
        assert evictions <= 4 * self.requests


@pytest.fixture(scope="module")
def loop() -> Iterator[TimelessLoop]:
    logger = logging.getLogger("olmkit")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    timeless = TimelessLoop()
    yield timeless
    timeless.close()
    logger.setLevel(level)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_storm_of_loads_and_accidents_breaks_no_promise(loop: TimelessLoop, part: int) -> None:
    for seed in range(part, STORMS, PARTS):
        loop.rewind()
        try:
            trace = loop.run_until_complete(Storm(seed).run())
            if seed % 10 == part:
                loop.rewind()
                assert trace == loop.run_until_complete(Storm(seed).run())
        except BaseException as error:
            raise AssertionError(f"case {seed}: {error!r}") from error


def test_the_storms_were_of_all_kinds(loop: TimelessLoop) -> None:
    for seed in range(60):
        loop.rewind()
        loop.run_until_complete(Storm(seed).run())
    assert min(KINDS[kind] for kind in ("0 devices", "1 devices", "2 devices", "3 devices")) > 0
    assert min(KINDS[kind] for kind in ("in part", "refused", "evicted")) > 5


def test_models_give_way_on_a_card_that_shares_main_memory(loop: TimelessLoop) -> None:
    """Main memory has room for one of them only, so a second one on the same chip waits for it."""
    memories = {HOST: Memory(total_bytes=700 * MIB), "GPU0": Memory(total_bytes=600 * MIB)}
    machine = MemoryMachine(memories, integrated=frozenset({"GPU0"}))
    models = [memory_model(name, [40 * MIB] * 9, over=1.0, kv_heads=1) for name in ("a", "b")]

    async def start_runner(name: str) -> Runner:
        runner = MemoryRunner(machine, next(one for one in models if one.name == name))
        return cast("Runner", runner)

    async def used() -> list[tuple[str, set[str]]]:
        pool = Pool(
            Settings(),
            start_runner=start_runner,
            free_bytes=machine.free_host_bytes,
            free_swap_bytes=lambda: 0,
            list_devices=lambda used: machine.listed(),
        )
        places = []
        for model in (*models, models[0]):
            async with pool.lease(model, LoadOptions(context_tokens=512)):
                places += [(one.name, {*one.devices} - {HOST}) for one in pool.instances()]
        await pool.close()
        return places

    loop.rewind()
    assert loop.run_until_complete(used()) == [("a", {"GPU0"}), ("b", {"GPU0"}), ("a", {"GPU0"})]
    assert not machine.unexcused
