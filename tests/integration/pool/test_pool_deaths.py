"""Runners die, requests go away, the pool closes: everybody is answered."""

import asyncio
import os
import random
import signal
from contextlib import aclosing

import psutil
import pytest

from olmkit.engine.errors import QueueFull, RunnerDied
from olmkit.engine.runner.protocol import LoadOptions, Piece
from olmkit.engine.supervision.localrunner import LocalRunner
from olmkit.registry.errors import Cancelled
from support.filespec import FileSpec, spec_of
from support.models import smollm2
from support.pools import OPTIONS, Make, gone, open_pool, pid_of, run, start_program, text_of


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
                    async with aclosing(lease.runner.complete("Once", ignore_eos=True)) as batches:
                        async for items in batches:
                            if isinstance(items[-1], Piece):
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
