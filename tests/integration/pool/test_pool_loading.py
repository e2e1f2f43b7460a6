"""The pool loads a model once for all who ask, and tells what it loads."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from olmkit.engine.errors import EngineError, LoadTimeout, ModelUnloadable, RunnerDied
from olmkit.engine.planning.footprint import process_bytes
from olmkit.engine.supervision.interface import Runner
from olmkit.registry.errors import Cancelled
from support.pools import OPTIONS, Make, loads, open_pool, run, text_of

# --- loading ----------------------------------------------------------------------------------


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
        async with open_pool(load_timeout_s=1.0) as pool:
            with pytest.raises(LoadTimeout, match=r"no progress for 1 s"):
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


# --- what is told -----------------------------------------------------------------------------


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
            while not (infos := pool.instances()) or not infos[0].size_bytes:
                await asyncio.sleep(0.005)
            (info,) = infos
            assert (info.state, info.context_tokens) == ("starting", 512)
            assert info.size_bytes > process_bytes(0)
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
