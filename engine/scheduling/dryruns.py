"""What a model takes where it is to go, by a dry run of the engine or from one before."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from olmkit.engine.devices.inventory import Device
from olmkit.engine.planning.footprint import MemoryPlan, process_bytes
from olmkit.engine.planning.ledger import HOST
from olmkit.engine.planning.measuredcosts import cost_key
from olmkit.engine.planning.modelcosts import as_loaded
from olmkit.engine.runner.layouts import Layout
from olmkit.engine.runner.protocol import Buffer, LoadOperation, LoadOptions, UnreadVocabulary
from olmkit.engine.scheduling import bringup
from olmkit.engine.scheduling.bringup import Loadable
from olmkit.engine.scheduling.placement import bytes_by_name
from olmkit.engine.supervision.interface import Runner

if TYPE_CHECKING:
    from olmkit.engine.scheduling.placing import Placer


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a model takes, by device and use."""

    key: str
    """What it is remembered by; empty: it is not worth that."""
    buffers: tuple[Buffer, ...]


class DryRuns:
    """Dry runs of one model on the devices that it may have."""

    def __init__(self, placer: "Placer", spec: Loadable, devices: Sequence[Device]) -> None:
        self._placer, self._spec, self._devices = placer, spec, devices

    async def measured(
        self, start: Callable[[], Awaitable[Runner]], options: LoadOptions, layout: Layout
    ) -> Measured:
        """What the model takes with that layout; `start` gives the runner, where one is needed.

        Raises:
            ModelUnloadable, DeviceLost, RunnerDied: the dry run failed.
        """
        engine = self._placer.engine()
        key = cost_key(self._spec.model_key, options, layout, self._devices, engine=engine)
        buffers = self._placer.remembered(key)
        if buffers is None:
            buffers = await self._fitted(await start(), options, layout)
            self._placer.remember(key, buffers)
        return Measured(key=key, buffers=tuple(buffers))

    async def _fitted(self, runner: Runner, options: LoadOptions, layout: Layout) -> list[Buffer]:
        header = self._spec.gguf
        tokens = header.vocabulary_tokens
        unread = UnreadVocabulary(architecture=header.architecture, tokens=tokens)
        fitted = await runner.load(
            self._spec.files,
            options,
            operation=LoadOperation.FIT,
            layout=layout,
            unread=unread if tokens else None,
        )
        is_mapped = options.use_mmap is not False
        return as_loaded(header, layout, fitted.buffers, is_mapped=is_mapped)

    def host_plan(self, buffers: Sequence[Buffer]) -> MemoryPlan:
        """What of the buffers lies in main memory, with all that the model takes there beside.

        Memory that a card shares with the processor is main memory.
        """
        shared = {one.name: one for one in self._devices if one.shares_memory}
        own = {one.name for one in self._devices} - shared.keys()
        host = [one for one in buffers if one.device not in own]
        tokens = self._spec.gguf.vocabulary_tokens
        taken_bytes = process_bytes(tokens, uses_devices=any(b.device != HOST for b in buffers))
        taken_bytes += sum(shared[b.device].process_bytes for b in host if b.device in shared)
        return MemoryPlan(
            weights_bytes=sum(one.weights_bytes for one in host) + bringup.bytes_beside(self._spec),
            kv_bytes=sum(one.kv_bytes for one in host),
            compute_bytes=sum(one.compute_bytes for one in host),
            process_bytes=taken_bytes,
        )

    def taken(self, buffers: Sequence[Buffer], plan: MemoryPlan) -> dict[str, int]:
        """Bytes by device, those of main memory by `plan`; shared memory is in both."""
        sizes = bytes_by_name(buffers)
        by_device = {
            one.name: sizes[one.name] + one.process_bytes
            for one in self._devices
            if one.name in sizes
        }
        return {HOST: plan.total_bytes, **by_device}
