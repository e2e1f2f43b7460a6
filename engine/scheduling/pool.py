"""Loaded models: carries the scheduler's effects out with real runners.

Lives in the daemon's event loop; nothing here may be called from another thread.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from olmkit.engine.models.gguf import GgufHeader
from olmkit.engine.runner.interface import Runner
from olmkit.engine.runner.protocol import Loaded, LoadOptions, ModelFiles


class Loadable(Protocol):
    """What the pool must know of a model (`models.spec.ModelSpec`)."""

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
        """The same for all names whose weights, projector and adapters are the same."""
        ...

    @property
    def files(self) -> ModelFiles:
        """Absolute paths."""
        ...

    @property
    def gguf(self) -> GgufHeader:
        """The header of the weights, for planning memory."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to use a loaded model until the context manager ends."""

    runner: Runner
    loaded: Loaded
    load_ns: int
    """How long the request waited for this lease, loading included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceInfo:
    """One loaded model, as `ps` shows it."""

    name: str
    digest: str
    model_key: str
    state: str
    """`starting`, `ready`, `draining` or `stopping`."""
    size_bytes: int
    """All that the model takes; while it is starting, what was planned."""
    size_vram_bytes: int
    """The part on GPUs."""
    context_tokens: int
    expires_at: datetime | None
    """When it is unloaded if nobody asks for it; None: never. Aware, local time."""
    leases: int
    pid: int | None


class Pool:
    """All loaded models of the daemon."""

    @asynccontextmanager
    async def lease(
        self, spec: Loadable, options: LoadOptions, keep_alive_s: float | None = None
    ) -> AsyncIterator[Lease]:
        """A lease on the model, loaded first if need be.

        `keep_alive_s`: how long the model stays loaded after its last lease; `math.inf` for
        ever, 0 not at all, None leaves what it has (the default when it is loaded now). A
        model loaded with a longer context and otherwise compatible options is used as it is.
        Cancelling the wait leaves the load to others that wait for it, or to keep-alive.

        Raises:
            QueueFull, LoadTimeout, OutOfMemory, ModelUnloadable, RunnerDied: no lease was given.
            RequestCancelled: the pool is closing.
        """
        raise NotImplementedError
        yield

    def instances(self) -> list[InstanceInfo]:
        """What is loaded now, the one that stays longest first."""
        raise NotImplementedError

    def unload(self, model_key: str) -> bool:
        """Unload the model as soon as no lease is held; False when it was not loaded.

        Returns at once. Requests that come in the meantime load it afresh.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """End all runners, answer all waiting requests; nothing can be leased any more."""
        raise NotImplementedError
