"""A pool of runner processes that leaves nothing behind, and what its tests ask of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import uvloop

from olmkit.engine.devices.enumeration import Found
from olmkit.engine.devices.inventory import Device
from olmkit.engine.runner.protocol import Completed, LoadOptions, Piece
from olmkit.engine.scheduling.bringup import StartRunner
from olmkit.engine.scheduling.leases import Lease
from olmkit.engine.scheduling.pool import Pool
from olmkit.engine.settings import Settings
from olmkit.engine.supervision.interface import Runner
from olmkit.engine.supervision.localrunner import LocalRunner
from support.filespec import FileSpec
from support.runner_program import COMMAND

OPTIONS = LoadOptions(context_tokens=512)
PLENTY = 1 << 40


async def start_program(model: str) -> Runner:
    return await LocalRunner.start(model, command=COMMAND)


@asynccontextmanager
async def open_pool(
    *,
    start_runner: StartRunner = start_program,
    free_bytes: Callable[[], int] = lambda: PLENTY,
    free_swap_bytes: Callable[[], int] = lambda: 0,
    devices: Sequence[Device] = (),
    **settings: Any,
) -> AsyncIterator[Pool]:
    """A pool that must leave no instance, process, task or descriptor behind."""
    await (await start_program("warm up")).close()  # what the event loop opens once
    descriptors, tasks = psutil.Process().num_fds(), len(asyncio.all_tasks())

    async def listed() -> Found:
        return Found(devices=tuple(devices))

    pool = Pool(
        Settings(**settings),
        start_runner=start_runner,
        free_bytes=free_bytes,
        free_swap_bytes=free_swap_bytes,
        list_devices=(lambda used: listed()) if devices else None,
    )
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


Make = Callable[..., FileSpec]
"""Makes a model of `runner_program`, from its name and behaviour."""


def loads(log: Path) -> int:
    return len(log.read_text().splitlines())


async def text_of(lease: Lease, max_tokens: int = 3) -> str:
    async with aclosing(lease.runner.complete("Once", max_tokens=max_tokens)) as batches:
        items = [item async for items in batches for item in items]
        return "".join([item.text for item in items if isinstance(item, Piece | Completed)])


async def gone(pool: Pool) -> None:
    while pool.instances():
        await asyncio.sleep(0.005)


def pid_of(lease: Lease) -> int:
    assert isinstance(lease.runner, LocalRunner)
    return lease.runner.pid
