"""What `olm plan` says: where a model would go, what it takes there, and how fast it could be."""

import asyncio
import dataclasses
import hashlib
import tempfile
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from olmkit.engine.devices.bandwidth import measured_bandwidth, measured_bandwidths
from olmkit.engine.errors import ModelUnloadable
from olmkit.engine.framing import wire_path
from olmkit.engine.gguf.draftheads import has_usable_head
from olmkit.engine.gguf.header import GgufHeader, read_header
from olmkit.engine.planning.contexts import ContextBy
from olmkit.engine.planning.ledger import HOST
from olmkit.engine.planning.modelcosts import bytes_per_token
from olmkit.engine.runner.protocol import Buffer, LoadOptions, ModelFiles
from olmkit.engine.scheduling.bringup import Loadable
from olmkit.engine.scheduling.modelplaces import Plan
from olmkit.engine.services import Services
from olmkit.registry.oci.reference import Reference
from olmkit.registry.sources import PullOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class PeekedModel:
    """A model of which only the header is here, before a file of holes."""

    name: str
    digest: str
    model_key: str
    files: ModelFiles
    gguf: GgufHeader
    size_bytes: int
    """Of all that a pull would fetch."""
    why: str
    """Why this one of several was taken."""
    draft: None = None
    """A file that is not here has no draft model."""

    @property
    def pools(self) -> bool:
        """Whether it generates nothing."""
        return self.gguf.pooling_type is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLine:
    """What a model would have on one device."""

    name: str
    description: str
    layers: int
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    process_bytes: int
    free_bytes: int
    total_bytes: int
    bytes_per_s: float | None = None
    """Bandwidth of its memory, measured; None: it could not be, or the model has nothing there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """All that a plan says."""

    context_tokens: int
    context_by: ContextBy
    contexts: int
    """Requests of that length that the KV cache would have room for."""
    largest_context_tokens: int
    layers: int
    devices: tuple[DeviceLine, ...]
    evicted: tuple[str, ...]
    notes: tuple[str, ...]
    most_tokens_per_s: float | None
    """Bound on the pace of one answer; None: the memory of some device could not be measured."""


async def plan_report(
    services: Services, spec: Loadable, options: LoadOptions, *, devices: Sequence[str]
) -> PlanReport:
    """What would happen if the model were asked for with these options.

    Raises:
        EngineError: as `Pool.plan`.
    """
    plan = await services.pool.plan(spec, options, devices=devices)
    cards = {device.name for device in plan.placed.devices if not device.is_remote}
    lines = await asyncio.to_thread(_measured, _lines(plan, spec, services), cards)
    return PlanReport(
        context_tokens=plan.placed.options.context_tokens,
        context_by=plan.placed.context_by,
        contexts=plan.placed.options.contexts,
        largest_context_tokens=plan.placed.largest_context_tokens,
        layers=(spec.gguf.block_count or 0) + 1,
        devices=tuple(lines),
        evicted=plan.evicted,
        notes=plan.placed.notes,
        most_tokens_per_s=pace(lines, bytes_per_token(spec.gguf)),
    )


def _measured(lines: list[DeviceLine], cards: Collection[str]) -> list[DeviceLine]:
    """The same lines with the bandwidth of those that hold layers. Blocking.

    Devices of other machines are left out: their servers have one client at a time, and the network
    bounds the pace as well.
    """
    used = [line.name for line in lines if line.layers]
    speeds: dict[str, float | None] = {}
    if on_cards := [name for name in used if name in cards]:
        speeds.update(measured_bandwidths(on_cards))
    if HOST in used:
        speeds[HOST] = measured_bandwidth()
    return [dataclasses.replace(line, bytes_per_s=speeds.get(line.name)) for line in lines]


def pace(lines: list[DeviceLine], token_bytes: int) -> float | None:
    """Tokens a second if each device did nothing but read its share of the weights, in turn."""
    used = [line for line in lines if line.layers]
    weights_bytes = max(1, sum(line.weights_bytes for line in used))
    seconds = 0.0
    for line in used:
        if not line.bytes_per_s:
            return None
        seconds += token_bytes * line.weights_bytes / weights_bytes / line.bytes_per_s
    return 1 / seconds if seconds else None


def _lines(plan: Plan, spec: Loadable, services: Services) -> list[DeviceLine]:
    placed = plan.placed
    layers = {share.device: share.layers for share in placed.layout.shares}
    known = {device.name: device for device in placed.devices}
    lines = []
    host = Buffer(device=HOST)
    for buffer in placed.buffers:
        if buffer.device not in known:
            host = Buffer(
                device=HOST,
                weights_bytes=host.weights_bytes + buffer.weights_bytes,
                kv_bytes=host.kv_bytes + buffer.kv_bytes,
                compute_bytes=host.compute_bytes + buffer.compute_bytes,
            )
            continue
        device = known[buffer.device]
        lines.append(
            DeviceLine(
                name=device.name,
                description=device.description,
                layers=layers.get(device.name, 0),
                weights_bytes=buffer.weights_bytes,
                kv_bytes=buffer.kv_bytes,
                compute_bytes=buffer.compute_bytes,
                process_bytes=device.process_bytes,
                free_bytes=device.free_bytes,
                total_bytes=device.total_bytes,
            )
        )
    main = services.pool.main_memory()
    used = host.weights_bytes + host.kv_bytes + host.compute_bytes
    lines.append(
        DeviceLine(
            name=HOST,
            description="main memory",
            layers=(spec.gguf.block_count or 0) + 1 - sum(layers.values()),
            weights_bytes=host.weights_bytes,
            kv_bytes=host.kv_bytes,
            compute_bytes=host.compute_bytes,
            process_bytes=max(0, placed.taken.get(HOST, 0) - used),
            free_bytes=main.free,
            total_bytes=main.total,
        )
    )
    return lines


@asynccontextmanager
async def peeked(
    reference: Reference, options: PullOptions, name: str
) -> AsyncGenerator[PeekedModel, None]:
    """A model that is not here, by a ranged read of its header; gone afterwards.

    Raises:
        ModelUnloadable: its header cannot be read.
        RegistryError: as `sources.peek`.
    """
    from olmkit.registry.sources.peek import peek  # brings httpx, for plans of what is remote only

    with tempfile.TemporaryDirectory(prefix="olm-plan-") as folder:
        path = Path(folder) / "model.gguf"

        def enough(head: bytes, size_bytes: int) -> bool:
            try:
                return _written(path, head, size_bytes, name).data_offset_bytes <= len(head)
            except ModelUnloadable:
                return False

        found = await asyncio.to_thread(peek, reference, options, enough=enough)
        header = await asyncio.to_thread(_written, path, found.head, found.size_bytes, name)
        yield PeekedModel(
            name=name,
            digest=found.digest,
            model_key=hashlib.sha256(found.digest.encode()).hexdigest(),
            files=ModelFiles(weights_path=wire_path(path), has_draft_head=has_usable_head(header)),
            gguf=header,
            size_bytes=found.size_bytes + found.other_bytes,
            why=found.why,
        )


def _written(path: Path, head: bytes, size_bytes: int, name: str) -> GgufHeader:
    """The header of a file with this beginning and holes after it, as long as the whole."""
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(size_bytes)
    return read_header(path, name=name)
