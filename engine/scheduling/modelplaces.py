"""What placing speaks of: the settings' rules, a model's place, a rehearsal, a plan."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from olmkit.engine.devices.inventory import Device
from olmkit.engine.planning.attempts import Attempts
from olmkit.engine.planning.available import swapped_bytes
from olmkit.engine.planning.contexts import ContextBy
from olmkit.engine.planning.footprint import process_bytes
from olmkit.engine.planning.ledger import HOST
from olmkit.engine.runner.layouts import Layout, SplitMode
from olmkit.engine.runner.protocol import Buffer, Loaded, LoadOptions
from olmkit.engine.scheduling import bringup
from olmkit.engine.settings import Settings
from olmkit.engine.supervision.interface import Runner

LEAST_SWAPPED_BYTES: Final = 16 << 20
"""Worth a word: idle pages of any process are swapped out sooner or later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacingRules:
    """What the settings say of devices."""

    overhead_bytes: int = 0
    """Of each device, that is left to others."""
    spread: bool = False
    refuses_less: bool = False
    """Whether a model that does not fit as asked is refused, where else it is loaded with less."""
    kv_on_host: bool = False
    cpu_expert_layers: int | None = None
    split_mode: SplitMode = SplitMode.LAYER


def placing_rules(settings: Settings) -> PlacingRules:
    """What the settings say of devices."""
    return PlacingRules(
        overhead_bytes=settings.gpu_overhead_bytes,
        spread=settings.spreads,
        refuses_less=settings.degrade == "error",
        kv_on_host=not settings.kv_offload,
        cpu_expert_layers=settings.cpu_expert_layers,
        split_mode=SplitMode(settings.split_mode),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """The other models, as far as they might make room."""

    give_back: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    """What the end of each gives back, bytes by device, in the order in which they would go: those
    on their way out first. By owner, as the ledger has them."""
    are_loading: bool = False
    """Whether some are being loaded, which may go once they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where a model goes, and what it takes there."""

    options: LoadOptions
    """With the context that it gets."""
    context_by: ContextBy = ContextBy.ASKED
    """What decided how long that is."""
    layout: Layout
    taken: Mapping[str, int]
    """Bytes by device, main memory as `CPU`."""
    buffers: tuple[Buffer, ...] = ()
    """The same by use, but for what a process takes beside."""
    devices: tuple[Device, ...] = ()
    notes: tuple[str, ...] = ()
    """One sentence for each way in which this is less than what was asked for."""
    is_whole: bool = True
    """Whether all layers that were asked for are on cards."""
    largest_context_tokens: int = 0
    """Longest context that fits there just as well; 0: not looked for."""
    key: str = ""
    """What its cost is remembered by."""
    attempts: Attempts | None = field(default=None, repr=False)
    """The search, to go on when an allocation fails all the same."""

    def noting(self, notes: Sequence[str]) -> "Placed":
        """The same with further notes."""
        return replace(self, notes=(*self.notes, *notes)) if notes else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A placing for the sake of its answer."""

    gone: frozenset[int] = frozenset()
    """Owners that are taken for gone."""
    freed_host_bytes: int = 0
    """Main memory that they would have given back."""
    only: tuple[str, ...] = ()
    """The devices to choose from, by name, UUID or number; empty: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where a model would go, and who would leave for it."""

    placed: Placed
    evicted: tuple[str, ...]
    """Names of loaded models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MainMemory:
    """Main memory, in bytes."""

    free: int
    """That nobody has claimed."""
    total: int


def swap_notes(runner: Runner | None) -> Iterator[str]:
    """What is said of a loaded model of which some memory is swapped out, by its runner."""
    pid = runner.pid if runner is not None else None
    size_bytes = swapped_bytes(pid) if pid is not None else None
    if size_bytes and size_bytes >= LEAST_SWAPPED_BYTES:
        yield f"{size_bytes >> 20} MiB of it are swapped out, and answers may be slow"


def settled(placed: Placed, loaded: Loaded) -> tuple[dict[str, int], dict[str, int]]:
    """What a model that was loaded there claims, and what its end gives back, by device.

    Memory that a card shares with the processor is claimed as the card's, for the system shows that
    it is gone, and given back as both.
    """
    known = {device.name: device for device in placed.devices}
    cards: dict[str, int] = {}
    for buffer in loaded.buffers:
        if bringup.is_on_card(buffer):
            device = known.get(buffer.device)
            beside_bytes = device.process_bytes if device and buffer.device not in cards else 0
            size = bringup.buffer_bytes(buffer) + beside_bytes
            cards[buffer.device] = cards.get(buffer.device, 0) + size
    shared_bytes = sum(
        size for name, size in cards.items() if name in known and known[name].shares_memory
    )
    # Mapped weights are wanted, though the system counts them as free.
    is_mapped = placed.options.use_mmap is not False
    wanted_bytes = bringup.host_mapped_bytes(loaded) if is_mapped else 0
    host_bytes = process_bytes(loaded.vocabulary_tokens, uses_devices=bool(cards))
    host_bytes += bringup.host_bytes(loaded) + shared_bytes
    return {HOST: wanted_bytes, **cards}, {HOST: host_bytes, **cards}
