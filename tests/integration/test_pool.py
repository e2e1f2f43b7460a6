"""The pool with real runner processes: the protocol's program, and llama.cpp where it matters."""

import asyncio
import math
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from olmkit.engine.errors import (
    EngineError,
    LoadTimeout,
    ModelUnloadable,
    OutOfMemory,
    QueueFull,
    RunnerDied,
)
from olmkit.engine.planning.footprint import PROCESS_BYTES
from olmkit.engine.runner.protocol import Completed, LoadOptions, Piece
from olmkit.engine.scheduling.bringup import StartRunner
from olmkit.engine.scheduling.pool import Lease, Pool
from olmkit.engine.settings import Settings
from olmkit.engine.supervision.interface import Runner
from olmkit.engine.supervision.localrunner import LocalRunner
from olmkit.registry.errors import Cancelled
from support.filespec import FileSpec, spec_of
from support.models import smollm2
from support.runner_program import COMMAND, write_model

OPTIONS = LoadOptions(context_tokens=512)
PLENTY = 1 << 40


async def start_program(model: str) -> Runner:
    return await LocalRunner.start(model, command=COMMAND)


@asynccontextmanager
async def open_pool(
    *,
    start_runner: StartRunner = start_program,
    free_bytes: Callable[[], int] = lambda: PLENTY,
    **settings: Any,
) -> AsyncIterator[Pool]:
    """A pool that must leave no instance, process, task or descriptor behind."""
    await (await start_program("warm up")).close()  # what the event loop opens once
    descriptors, tasks = psutil.Process().num_fds(), len(asyncio.all_tasks())
    pool = Pool(Settings(**settings), start_runner=start_runner, free_bytes=free_bytes)
    try:
        yield pool
    finally:
        await pool.close()
        assert pool.instances() == []
    await asyncio.sleep(0.01)
    assert not psutil.Process().children()
    assert psutil.Process().num_fds() == descriptors
    assert len(asyncio.all_tasks()) == tasks


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(test(), 60))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Gets a line a process that loaded a model."""
    path = tmp_path / "started"
    path.touch()
    return path


@pytest.fixture
def model(tmp_path: Path, log: Path) -> Callable[..., FileSpec]:
    def make(name: str = "m", *, weights_bytes: int = 1000, **behaviour: Any) -> FileSpec:
        behaviour.setdefault("token_s", 0.001)
        path = write_model(tmp_path / f"{name}.json", started_log=str(log), **behaviour)
        return spec_of(path, weights_bytes=weights_bytes)

    return make


Make = Callable[..., FileSpec]


def loads(log: Path) -> int:
    return len(log.read_text().splitlines())


async def text_of(lease: Lease, max_tokens: int = 3) -> str:
    async with aclosing(lease.runner.complete("Once", max_tokens=max_tokens)) as items:
        return "".join([i.text async for i in items if isinstance(i, Piece | Completed)])


async def gone(pool: Pool) -> None:
    while pool.instances():
        await asyncio.sleep(0.005)


def pid_of(lease: Lease) -> int:
    assert isinstance(lease.runner, LocalRunner)
    return lease.runner.pid


# --- loading --------------------------------------------------------------------------------


def test_many_requests_share_one_load(model: Make, log: Path) -> None:
    async def test() -> None:
        async with open_pool() as pool:
            spec = model(load_s=0.1)

            async def use() -> str:
                async with pool.lease(spec, OPTIONS) as lease:
                    return await text_of(lease)

            assert await asyncio.gather(*(use() for _ in range(12))) == ["012"] * 12
            assert loads(log) == 1

    run(test)


def test_a_waiter_that_leaves_leaves_the_load_to_the_others(model: Make, log: Path) -> None:
    async def test() -> None:
        async with open_pool() as pool:
            spec = model(load_s=0.2)

            async def use() -> str:
                async with pool.lease(spec, OPTIONS) as lease:
                    return await text_of(lease)

            first, second = asyncio.create_task(use()), asyncio.create_task(use())
            while not loads(log):
                await asyncio.sleep(0.005)
            first.cancel()
            assert await second == "012"
            assert loads(log) == 1

    run(test)


def test_a_load_that_everybody_left_serves_the_next_one(model: Make, log: Path) -> None:
    async def test() -> None:
        async with open_pool() as pool:
            spec = model(load_s=0.1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), pool.lease(spec, OPTIONS):
                    pass
            async with pool.lease(spec, OPTIONS) as lease:
                assert await text_of(lease) == "012"
            assert loads(log) == 1

    run(test)


def test_a_failed_load_answers_all_and_is_not_tried_again_at_once(model: Make, log: Path) -> None:
    async def test() -> None:
        async with open_pool() as pool:
            spec = model(load_s=0.05, fail="bad_model")

            async def use() -> None:
                async with pool.lease(spec, OPTIONS):
                    raise AssertionError("a lease on a broken model")

            answers = await asyncio.gather(*(use() for _ in range(5)), return_exceptions=True)
            assert [type(answer) for answer in answers] == [ModelUnloadable] * 5
            with pytest.raises(ModelUnloadable):
                await use()
            assert loads(log) == 1
            await asyncio.sleep(1.05)
            with pytest.raises(ModelUnloadable):
                await use()
            assert loads(log) == 2

    run(test)


def test_a_runner_that_dies_while_loading_is_an_error(model: Make) -> None:
    async def test() -> None:
        async with open_pool() as pool:
            with pytest.raises(RunnerDied) as caught:
                async with pool.lease(model(die=3), OPTIONS):
                    pass
            assert caught.value.exit_status == 3
            assert caught.value.log_tail == "about to die"

    run(test)


def test_a_load_without_progress_is_given_up(model: Make) -> None:
    async def test() -> None:
        async with open_pool(load_timeout_s=0.3) as pool:
            with pytest.raises(LoadTimeout, match=r"no progress for 0\.3 s"):
                async with pool.lease(model("stalled", stall=True), OPTIONS):
                    pass
            # Slow, but it goes on: 0.06 s between two steps.
            async with pool.lease(model("slow", load_s=0.6), OPTIONS) as lease:
                assert lease.load_ns > 0.5e9

    run(test)


def test_closing_while_a_model_loads_answers_and_ends_it(model: Make, log: Path) -> None:
    async def test() -> None:
        async with open_pool() as pool:
            spec = model(load_s=30)

            async def use() -> None:
                async with pool.lease(spec, OPTIONS):
                    pass

            task = asyncio.create_task(use())
            while not loads(log):
                await asyncio.sleep(0.005)
            await pool.close()
            with pytest.raises(Cancelled, match="shutting down"):
                await task
            with pytest.raises(Cancelled, match="shutting down"):
                await use()

    run(test)


# --- reuse ----------------------------------------------------------------------------------


def test_a_smaller_context_does_not_reload_a_larger_one_does(model: Make, log: Path) -> None:
    async def test() -> None:
        async with open_pool() as pool:
            spec = model(context_tokens=8192)
            for asked, held, times in (
                (2048, 2048, 1),
                (512, 2048, 1),
                (0, 4096, 2),  # automatic is not what somebody asked for
                (1024, 4096, 2),
                (8192, 8192, 3),
                (0, 8192, 3),
            ):
                async with pool.lease(spec, LoadOptions(context_tokens=asked)) as lease:
                    assert lease.loaded.context_tokens == held
                assert loads(log) == times

    run(test)


def test_a_request_with_other_options_waits_until_the_model_is_free(model: Make, log: Path) -> None:
    async def test() -> None:
        async with open_pool() as pool:
            spec = model()
            order: list[str] = []

            async def use(name: str, context_tokens: int) -> None:
                options = LoadOptions(context_tokens=context_tokens)
                async with pool.lease(spec, options) as lease:
                    order.append(name)
                    await text_of(lease)

            async with pool.lease(spec, OPTIONS) as lease:
                larger = asyncio.create_task(use("larger", 1024))
                await asyncio.sleep(0.02)
                same = asyncio.create_task(use("same", 512))
                await asyncio.sleep(0.05)
                assert order == []
                assert await text_of(lease) == "012"
            await asyncio.gather(larger, same)
            assert order == ["larger", "same"]
            assert loads(log) == 2

    run(test)


def test_more_requests_than_sequences_take_turns(model: Make) -> None:
    async def test() -> None:
        async with open_pool(max_queue_per_model=3) as pool:
            spec, options = model(), LoadOptions(context_tokens=512, sequences=2)
            at_once = most = 0

            async def use() -> None:
                nonlocal at_once, most
                async with pool.lease(spec, options) as lease:
                    at_once += 1
                    most = max(most, at_once)
                    await text_of(lease, 20)
                    at_once -= 1

            async with pool.lease(spec, options):
                tasks = [asyncio.create_task(use()) for _ in range(5)]
                answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert most == 1
            assert [type(a) for a in answers if a is not None] == [QueueFull]
            assert all(a.retry_after_s >= 1 for a in answers if isinstance(a, QueueFull))

    run(test)


# --- keep-alive -----------------------------------------------------------------------------


def test_keep_alive_runs_from_the_end_of_the_last_lease(model: Make, log: Path) -> None:
    async def test() -> None:
        async with open_pool(keep_alive_s=0.2) as pool:
            spec = model()
            for _ in range(3):
                async with pool.lease(spec, OPTIONS):
                    await asyncio.sleep(0.1)
                await asyncio.sleep(0.1)
            assert loads(log) == 1
            async with asyncio.timeout(2):
                await gone(pool)

    run(test)


def test_keep_alive_zero_unloads_at_the_end_of_the_lease(model: Make) -> None:
    async def test() -> None:
        async with open_pool() as pool:
            async with pool.lease(model(), OPTIONS, keep_alive_s=0) as lease:
                pid = pid_of(lease)
            async with asyncio.timeout(2):
                await gone(pool)
            assert not psutil.pid_exists(pid)

    run(test)


def test_keep_alive_of_a_request_is_kept_by_those_without(model: Make) -> None:
    async def test() -> None:
        async with open_pool(keep_alive_s=0.05) as pool:
            spec = model()
            async with pool.lease(spec, OPTIONS, keep_alive_s=math.inf):
                pass
            async with pool.lease(spec, OPTIONS):
                pass
            await asyncio.sleep(0.15)
            (info,) = pool.instances()
            assert info.expires_at is None
            assert pool.unload(spec.model_key)
            await gone(pool)
            assert not pool.unload(spec.model_key)

    run(test)


def test_unloading_a_busy_model_lets_its_work_end(model: Make, log: Path) -> None:
    async def test() -> None:
        async with open_pool() as pool:
            spec = model()
            async with pool.lease(spec, OPTIONS) as lease:
                assert pool.unload(spec.model_key)
                assert pool.instances()[0].state == "draining"

                async def use() -> str:
                    async with pool.lease(spec, OPTIONS) as fresh:
                        assert fresh.runner is not lease.runner
                        return await text_of(fresh)

                late = asyncio.create_task(use())
                assert await text_of(lease) == "012"
                assert not late.done()
            assert await late == "012"
            assert loads(log) == 2

    run(test)


# --- room -----------------------------------------------------------------------------------


def test_the_least_recently_used_idle_model_makes_room(model: Make) -> None:
    async def test() -> None:
        async with open_pool(max_loaded_models=2) as pool:
            a, b, c = model("a"), model("b"), model("c")
            for spec in (a, b, a, c):
                async with pool.lease(spec, OPTIONS) as lease:
                    assert await text_of(lease) == "012"
            assert {info.name for info in pool.instances()} == {"a", "c"}

    run(test)


def test_a_busy_model_is_drained_for_who_waits_and_not_used_again(model: Make) -> None:
    async def test() -> None:
        async with open_pool(max_loaded_models=1) as pool:
            a, b = model("a"), model("b")
            order: list[str] = []

            async def use(spec: FileSpec) -> None:
                async with pool.lease(spec, OPTIONS):
                    order.append(spec.name)

            async with pool.lease(a, OPTIONS):
                tasks = [asyncio.create_task(use(spec)) for spec in (b, a)]
                await asyncio.sleep(0.05)
                assert order == []
            await asyncio.gather(*tasks)
            assert order == ["b", "a"]

    run(test)


def test_too_little_memory_is_one_sentence_with_the_numbers(model: Make) -> None:
    async def test() -> None:
        async with open_pool(free_bytes=lambda: 50 << 20) as pool:
            with pytest.raises(OutOfMemory) as caught:
                async with pool.lease(model("big", weights_bytes=2 << 30), OPTIONS):
                    pass
            assert "but only 50 MiB is free" in str(caught.value)
            assert caught.value.free_bytes == 50 << 20
            assert pool.instances() == []

    run(test)


def test_idle_models_leave_when_memory_is_short(tmp_path: Path) -> None:
    """Three real headers, in memory for two."""
    specs = []
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.gguf").symlink_to(smollm2())
        specs.append(spec_of(tmp_path / f"{name}.gguf"))

    async def test() -> None:
        # Each takes 230 MB, of which the pool counts 97 MB of mapped weights while it is loaded.
        async with open_pool(
            start_runner=LocalRunner.start, free_bytes=lambda: 400_000_000
        ) as pool:
            for spec in specs:
                async with pool.lease(spec, OPTIONS) as lease:
                    assert await text_of(lease)
            assert {info.name for info in pool.instances()} == {"b", "c"}

    run(test)


def test_a_load_that_found_no_memory_is_tried_again_when_another_has_left(
    model: Make, log: Path, tmp_path: Path
) -> None:
    other_is_loaded = tmp_path / "other"

    async def test() -> None:
        async with open_pool() as pool:
            other, spec = model("other"), model("spec", fail_while=str(other_is_loaded))
            async with pool.lease(other, OPTIONS) as lease:
                other_is_loaded.touch()
                died = lease.runner.died
            died.add_done_callback(lambda _: other_is_loaded.unlink())
            async with pool.lease(spec, OPTIONS) as lease:
                assert await text_of(lease) == "012"
            assert loads(log) == 3
            assert [info.name for info in pool.instances()] == ["spec"]

    run(test)


# --- death ----------------------------------------------------------------------------------


@pytest.mark.parametrize("real", [False, True], ids=["program", "llama.cpp"])
def test_after_a_kill_in_mid_stream_the_next_request_gets_a_fresh_runner(
    model: Make, real: bool
) -> None:
    spec = spec_of(smollm2()) if real else model()
    start_runner = LocalRunner.start if real else start_program

    async def test() -> None:
        async with open_pool(start_runner=start_runner) as pool:
            with pytest.raises(RunnerDied):
                async with pool.lease(spec, OPTIONS) as lease:
                    pid = pid_of(lease)
                    async with aclosing(lease.runner.complete("Once", ignore_eos=True)) as items:
                        async for item in items:
                            if isinstance(item, Piece):
                                os.kill(pid, signal.SIGKILL)
            async with pool.lease(spec, OPTIONS) as lease:
                assert pid_of(lease) != pid
                assert await text_of(lease)

    run(test)


def test_a_model_killed_while_idle_is_forgotten(model: Make) -> None:
    async def test() -> None:
        async with open_pool() as pool:
            spec = model()
            async with pool.lease(spec, OPTIONS) as lease:
                pid = pid_of(lease)
            os.kill(pid, signal.SIGKILL)
            await gone(pool)
            async with pool.lease(spec, OPTIONS) as lease:
                assert await text_of(lease) == "012"

    run(test)


def test_closing_the_pool_ends_answers_in_mid_stream(model: Make) -> None:
    async def test() -> None:
        async with open_pool() as pool:

            async def use() -> None:
                async with pool.lease(model(), OPTIONS) as lease:
                    await text_of(lease, -1)

            task = asyncio.create_task(use())
            while not any(info.leases for info in pool.instances()):
                await asyncio.sleep(0.005)
            await pool.close()
            with pytest.raises(Cancelled):
                await task

    run(test)


def test_a_storm_of_requests_cancellations_and_kills_leaves_everybody_answered(
    model: Make,
) -> None:
    dice = random.Random(7)

    async def test() -> None:
        specs = [model(name, load_s=0.02) for name in "abcd"]
        async with open_pool(max_loaded_models=2, keep_alive_s=0.05, max_queue=30) as pool:
            answers: list[str] = []

            async def use(spec: FileSpec, context_tokens: int, patience_s: float) -> None:
                try:
                    options = LoadOptions(context_tokens=context_tokens, sequences=2)
                    async with asyncio.timeout(patience_s), pool.lease(spec, options) as lease:
                        answers.append(await text_of(lease, dice.randint(1, 30)))
                except (TimeoutError, RunnerDied, QueueFull) as error:
                    answers.append(type(error).__name__)

            async def kill() -> None:
                for _ in range(15):
                    await asyncio.sleep(0.1)
                    runners = psutil.Process().children()
                    if runners:
                        dice.choice(runners).kill()

            killer = asyncio.create_task(kill())
            tasks = []
            for _ in range(250):
                patience_s = dice.choice((0.02, 0.2, 30, 30))
                asked = dice.choice((0, 256, 512))
                tasks.append(asyncio.create_task(use(dice.choice(specs), asked, patience_s)))
                await asyncio.sleep(dice.random() * 0.015)
            await asyncio.gather(killer, *tasks)
            assert len(answers) == 250
            assert sum(answer.isdigit() for answer in answers) > 10
            assert not any(info.leases for info in pool.instances())
            async with asyncio.timeout(5):
                await gone(pool)

    run(test)


# --- what is told ---------------------------------------------------------------------------


def test_instances_tell_name_size_context_and_end(model: Make) -> None:
    async def test() -> None:
        async with open_pool(keep_alive_s=60) as pool:
            a, b = model("a"), model("b")
            begun_at = datetime.now().astimezone()
            async with pool.lease(a, OPTIONS, keep_alive_s=10), pool.lease(b, OPTIONS):
                first, second = pool.instances()
            ended_at = datetime.now().astimezone()
            assert (first.name, first.digest, first.state) == ("b", "sha256:b", "ready")
            assert (first.size_bytes, first.size_vram_bytes) == (1512, 0)
            assert (first.context_tokens, first.leases) == (512, 1)
            assert first.expires_at is not None
            assert second.expires_at is not None
            assert begun_at <= second.expires_at - timedelta(seconds=10) <= ended_at

    run(test)


def test_a_model_is_listed_while_it_loads(model: Make) -> None:
    async def test() -> None:
        async with open_pool() as pool:

            async def use() -> None:
                async with pool.lease(model(load_s=0.2), OPTIONS):
                    pass

            task = asyncio.create_task(use())
            await asyncio.sleep(0.1)
            (info,) = pool.instances()
            assert (info.state, info.context_tokens) == ("starting", 512)
            assert info.size_bytes > PROCESS_BYTES
            await task

    run(test)


def test_a_defect_in_the_start_is_told_to_who_waits(model: Make) -> None:
    async def broken(name: str) -> Runner:
        raise ValueError(name)

    async def test() -> None:
        async with open_pool(start_runner=broken) as pool:
            with pytest.raises(EngineError, match="the log tells"):
                async with pool.lease(model(), OPTIONS):
                    pass

    run(test)
