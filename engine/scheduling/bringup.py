"""Bringing one model up: plan its memory, start a runner, load with an eye on the progress.

Knows one model at a time; who gets it, and what must leave for it, is the scheduler's.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from olmkit.engine.errors import LoadTimeout, ModelUnloadable
from olmkit.engine.framing import path_of, printable
from olmkit.engine.gguf.header import GgufHeader
from olmkit.engine.planning.footprint import MemoryPlan, plan_memory
from olmkit.engine.runner.layouts import Layout
from olmkit.engine.runner.protocol import Buffer, Loaded, LoadOptions, ModelFiles
from olmkit.engine.supervision.interface import Runner

PROMPT_CACHE_SHARE: Final = 8
"""A loaded model may use one part in so many of the free memory for idle prompts."""

StartRunner = Callable[[str], Awaitable[Runner]]
"""Makes a fresh runner for the model of that name, not loaded yet."""


class Loadable(Protocol):
    """What must be known of a model to load it (`models.spec.ModelSpec`)."""

    @property
    def name(self) -> str:
        """For people: `smollm2:latest`."""
        ...

    @property
    def digest(self) -> str:
        """Of the manifest, `sha256:…`."""
        ...

    @property
    def model_key(self) -> str:
        """The same for all names that one loaded model can serve."""
        ...

    @property
    def files(self) -> ModelFiles:
        """Absolute paths."""
        ...

    @property
    def gguf(self) -> GgufHeader:
        """The header of the weights."""
        ...

    @property
    def draft(self) -> GgufHeader | None:
        """The header of the draft model, where it has one."""
        ...


def within_memory(options: LoadOptions, *, free_bytes: int) -> LoadOptions:
    """The options with a prompt cache that leaves most of the free memory to others."""
    most_bytes = max(0, free_bytes) // PROMPT_CACHE_SHARE
    cache_bytes = min(options.prompt_cache_bytes, most_bytes)
    return msgspec.structs.replace(options, prompt_cache_bytes=cache_bytes)


def plan_for(spec: Loadable, options: LoadOptions) -> MemoryPlan:
    """What loading with these effective `options` takes.

    Raises:
        ModelUnloadable: a file of the model is not there.
    """
    extra_bytes = 0
    projector = spec.files.projector_path
    for path in (*spec.files.adapter_paths, *([projector] if projector else [])):
        try:
            extra_bytes += Path(path_of(path)).stat().st_size
        except OSError as error:
            text = f"{spec.name} cannot be loaded: {printable(path_of(path))}: {error.strerror}"
            raise ModelUnloadable(text, model=spec.name) from error
    return plan_memory(spec.gguf, options, draft=spec.draft, extra_weights_bytes=extra_bytes)


async def load(
    runner: Runner,
    spec: Loadable,
    options: LoadOptions,
    *,
    layout: Layout | None = None,
    timeout_s: float,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Loaded:
    """Load the model; give up when for `timeout_s` no more of it was read.

    `on_progress` gets fractions of the weights as they are read, 0 to 1.

    Raises:
        LoadTimeout, ModelUnloadable, OutOfMemory, DeviceLost, RunnerDied: close the runner then.
    """
    loop = asyncio.get_running_loop()
    furthest = 0.0
    try:
        async with asyncio.timeout(None if math.isinf(timeout_s) else timeout_s) as limit:

            def advance(fraction: float) -> None:
                nonlocal furthest
                on_progress(fraction)
                if fraction > furthest and not math.isinf(timeout_s):
                    furthest = fraction
                    limit.reschedule(loop.time() + timeout_s)

            return await runner.load(spec.files, options, layout=layout, on_progress=advance)
    except TimeoutError as error:
        text = f"loading {spec.name} made no progress for {timeout_s:g} s"
        hint = "OLM_LOAD_TIMEOUT sets how long to wait"
        raise LoadTimeout(text, timeout_s=timeout_s, hint=hint) from error


def buffer_bytes(buffer: Buffer) -> int:
    """All that the model takes on that device."""
    return buffer.weights_bytes + buffer.kv_bytes + buffer.compute_bytes


def is_on_card(buffer: Buffer) -> bool:
    """Whether the buffer is in a card's memory, not in the machine's."""
    return not buffer.device.startswith(("CPU", "BLAS")) and not buffer.device.endswith("_Host")


def host_bytes(loaded: Loaded) -> int:
    """All that the model takes of the machine's own memory."""
    return sum(buffer_bytes(buffer) for buffer in loaded.buffers if not is_on_card(buffer))


def host_weights_bytes(loaded: Loaded) -> int:
    """The weights among `host_bytes`."""
    return sum(buffer.weights_bytes for buffer in loaded.buffers if not is_on_card(buffer))
