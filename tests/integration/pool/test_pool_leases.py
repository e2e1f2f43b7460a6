"""The pool shares, keeps and gives up loaded models; runners are real processes."""

import asyncio
import math
from pathlib import Path

import psutil
import pytest

from olmkit.engine.errors import OutOfMemory, QueueFull
from olmkit.engine.runner.protocol import LoadOptions
from olmkit.engine.supervision.localrunner import LocalRunner
from support.filespec import FileSpec, spec_of
from support.models import smollm2
from support.pools import OPTIONS, Make, gone, loads, open_pool, pid_of, run, text_of

MB = 1_000_000

# --- reuse ------------------------------------------------------------------------------------


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


# --- keep-alive -------------------------------------------------------------------------------


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


# --- room -------------------------------------------------------------------------------------


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
        async with (
            open_pool(start_runner=LocalRunner.start) as pool,
            pool.lease(specs[0], OPTIONS),
        ):
            (needed_bytes,) = (info.planned_bytes for info in pool.instances())
        # Of a loaded model the pool counts its mapped weights, which free memory does not show.
        free_bytes = needed_bytes + int(1.5 * smollm2().stat().st_size)
        async with open_pool(start_runner=LocalRunner.start, free_bytes=lambda: free_bytes) as pool:
            for spec in specs:
                async with pool.lease(spec, OPTIONS) as lease:
                    assert await text_of(lease)
            assert {info.name for info in pool.instances()} == {"b", "c"}

    run(test)


def test_what_fits_with_swap_space_only_is_loaded_alone_and_said(model: Make) -> None:
    async def test() -> None:
        async with open_pool(free_bytes=lambda: 700 * MB, free_swap_bytes=lambda: 100 * MB) as pool:
            async with pool.lease(model("small"), OPTIONS):
                pass
            async with pool.lease(model("big", weights_bytes=690 * MB), OPTIONS) as lease:
                assert await text_of(lease) == "012"
            (instance,) = pool.instances()
            assert instance.name == "big"
            assert "more than main memory has free" in instance.notes[0]
            with pytest.raises(OutOfMemory, match="of swap space are free"):
                async with pool.lease(model("huge", weights_bytes=2000 * MB), OPTIONS):
                    pass
            assert [one.name for one in pool.instances()] == ["big"]

    run(test)


def test_what_must_fit_as_asked_is_not_swapped_out(model: Make) -> None:
    async def test() -> None:
        async with open_pool(
            free_bytes=lambda: 700 * MB, free_swap_bytes=lambda: 100 * MB, degrade="error"
        ) as pool:
            with pytest.raises(OutOfMemory, match="but only 667 MiB is free") as caught:
                async with pool.lease(model(weights_bytes=690 * MB), OPTIONS):
                    pass
            assert "OLM_DEGRADE=warn" in str(caught.value.hint)

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
