"""What a runner says of itself, within a time in which nobody minds to wait."""

import asyncio
from typing import Final

from olmkit.engine.errors import EngineError
from olmkit.engine.runner.protocol import Healthy
from olmkit.engine.supervision.interface import Runner
from olmkit.registry.errors import Cancelled

_PATIENCE_S: Final = 0.25
"""A runner answers between two steps; a step over a long prompt takes longer than this."""


async def health_of(runner: Runner | None) -> Healthy | None:
    """The state of a runner's decode loop; None where it is not told at once, or there is none."""
    if runner is None:
        return None
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await runner.health()
    except (TimeoutError, EngineError, Cancelled):
        return None
