"""The devices that models may be put on, from what the engine says of itself. Pure.

Each piece of memory counts once: a card that two backends offer, and memory that a card shares
with the processor.

Source: llama.cpp, src/llama.cpp, llama_prepare_model_devices.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from olmkit.engine.devices.enginesurvey import EngineDevice

REMOTE: Final = "RPC"
"""The backend of devices in other machines."""
_UNIFIED: Final = frozenset({"Metal", "MTL"})
"""Backends whose devices share the machine's memory, though they call themselves discrete.
Source: llama.cpp, ggml/src/ggml-metal/ggml-metal.cpp, ggml_backend_metal_device_get_type."""
_DRIVER_BYTES: Final = {"CUDA": 640 * 2**20, "ROCm": 640 * 2**20, "HIP": 640 * 2**20}
_WORK_BYTES: Final = {"CUDA": 128 * 2**20, "ROCm": 128 * 2**20, "HIP": 128 * 2**20}


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A place for layers."""

    name: str
    """llama.cpp's; of another machine's `RPC[host:port]`."""
    description: str
    backend: str
    free_bytes: int
    """As a process sees it that has started the driver itself."""
    total_bytes: int
    bus_id: str = ""
    uuid: str = ""
    is_integrated: bool = False
    """It is a part of the processor's chip, and slower than cards."""

    @property
    def is_remote(self) -> bool:
        """Whether it is in another machine; its server has one client at a time."""
        return self.backend == REMOTE

    @property
    def shares_memory(self) -> bool:
        """Whether its memory is the machine's own, so that what it takes is taken of both."""
        return self.is_integrated or self.backend in _UNIFIED

    @property
    def process_bytes(self) -> int:
        """What a process takes of it beside buffers: the driver's own, and what grows later.

        Source: measured with CUDA 13.0 on an H200, 524 MiB for the context and 82 MiB after the
        first steps (with flash attention off 190).
        """
        return _DRIVER_BYTES.get(self.backend, 0)

    @property
    def growth_bytes(self) -> int:
        """The part of `process_bytes` that `free_bytes` still counts as free."""
        return _WORK_BYTES.get(self.backend, 0)


def usable_devices(found: Iterable[EngineDevice]) -> tuple[Device, ...]:
    """Those that layers can be put on, in the engine's order.

    The processor is not among them, nor what works along with it. Of several devices at one PCI
    address the first counts; integrated cards only where there is no discrete one in this machine,
    and of one backend only. A card that does not tell its memory is left alone.
    """
    cards: list[EngineDevice] = []
    addresses: set[str] = set()
    for device in found:
        is_known = bool(device.bus_id) and device.bus_id.lower() in addresses
        if device.is_card and device.total_bytes > 0 and not is_known:
            addresses.add(device.bus_id.lower())
            cards.append(device)
    remote = [card for card in cards if card.backend == REMOTE]
    discrete = [card for card in cards if card.kind == "gpu" and card.backend != REMOTE]
    integrated = [card for card in cards if card.kind == "integrated_gpu"]
    integrated = [card for card in integrated if card.backend == integrated[0].backend]
    return tuple(_device(card) for card in (*remote, *(discrete or integrated)))


def _device(card: EngineDevice) -> Device:
    return Device(
        name=card.name,
        description=card.description,
        backend=card.backend,
        free_bytes=min(card.free_bytes, card.total_bytes),
        total_bytes=card.total_bytes,
        bus_id=card.bus_id,
        uuid=card.uuid,
        is_integrated=card.kind == "integrated_gpu",
    )
