"""A runner that outlives its process keeps the contract of runners, its end included."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
import uvloop

from olmkit.engine.errors import RunnerDied
from olmkit.engine.facts.enginelibraries import find_libraries
from olmkit.engine.runner.protocol import Completed, LoadOptions, ModelFiles
from olmkit.engine.safemode.safeguard import Safeguard
from olmkit.engine.supervision.interface import ExitReason
from olmkit.engine.supervision.steadyrunner import SteadyRunner
from olmkit.registry.errors import Cancelled
from support.brokenengine import Defect, broken_engine
from support.models import smollm2

OPTIONS = LoadOptions(context_tokens=512, threads=1)
FILES = ModelFiles(weights_path=str(smollm2()))


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def alone() -> None:
        tasks = len(asyncio.all_tasks())
        await test()
        await asyncio.sleep(0.05)
        assert len(asyncio.all_tasks()) == tasks
        assert not psutil.Process().children()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(alone(), 120))


@pytest.fixture
def guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Safeguard:
    """Of an engine that dies of the first prompt."""
    libraries = broken_engine(tmp_path / "engine", Defect.AT_FIRST_PROMPT)
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(libraries))
    return Safeguard(libraries=find_libraries(libraries))


async def completed(runner: SteadyRunner) -> Completed:
    async with aclosing(runner.complete("Say hi", max_tokens=4)) as batches:
        *_, end = [reply async for replies in batches for reply in replies]
    assert isinstance(end, Completed)
    return end


def test_what_was_loaded_is_loaded_again_and_told(guard: Safeguard) -> None:
    async def test() -> None:
        runner = await SteadyRunner.start("m", guard)
        loaded = await runner.load(FILES, OPTIONS)
        assert runner.loaded == loaded
        assert runner.caveat == ""
        assert (await completed(runner)).completion_tokens > 0
        assert "SIGILL" in runner.caveat
        assert runner.loaded is not None
        assert runner.loaded.context_tokens == loaded.context_tokens
        assert not runner.died.done()
        await runner.close()
        assert (await runner.died).reason is ExitReason.CLOSED

    run(test)


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.2, 0.6])
def test_closing_in_the_midst_of_it_cancels_what_is_asked(after_s: float, guard: Safeguard) -> None:
    async def test() -> None:
        runner = await SteadyRunner.start("m", guard)
        await runner.load(FILES, OPTIONS)
        asking = asyncio.create_task(completed(runner))
        await asyncio.sleep(after_s)
        await runner.close()
        assert runner.died.done()
        try:
            await asking
        except Cancelled:
            pass  # an answer that came before is as good

    run(test)


def test_cancelling_a_question_in_the_midst_of_it_leaves_the_runner(guard: Safeguard) -> None:
    async def test() -> None:
        runner = await SteadyRunner.start("m", guard)
        await runner.load(FILES, OPTIONS)
        asking = asyncio.create_task(completed(runner))
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert (await completed(runner)).completion_tokens > 0
        await runner.close()

    run(test)


def test_another_death_is_the_runner_s_own(guard: Safeguard) -> None:
    async def test() -> None:
        runner = await SteadyRunner.start("m", guard)
        await runner.load(FILES, OPTIONS)
        (process,) = psutil.Process().children()
        process.kill()
        with pytest.raises(RunnerDied):
            await runner.health()
        assert runner.died.done()
        with pytest.raises(RunnerDied):
            await completed(runner)
        await runner.close()

    run(test)
