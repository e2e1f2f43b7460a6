"""Where the layers of a model go: what the daemon decides and the runner carries out."""

import enum

import msgspec


class SplitMode(enum.StrEnum):
    """How a model is spread over several devices."""

    LAYER = "layer"
    """Each device has layers of its own."""
    ROW = "row"
    """Matrices are cut by rows, where the backend can."""
    TENSOR = "tensor"
    """All devices work on every layer at once, where the backend can."""


class DeviceShare(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a model on one device."""

    device: str
    """llama.cpp's name: `CUDA0`."""
    layers: int
    """Consecutive ones; the output layer is one, the last."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model goes: the last layers to devices in their order, all before to main memory."""

    shares: tuple[DeviceShare, ...] = ()
    """Empty: the processor does all."""
    cpu_expert_layers: int = 0
    """The experts of so many of the first layers stay in main memory."""
    kv_on_host: bool = False
    """The KV cache stays in main memory."""
    split_mode: SplitMode = SplitMode.LAYER

    @property
    def layers(self) -> int:
        """Layers on devices, the output layer among them."""
        return sum(share.layers for share in self.shares)

    @property
    def devices(self) -> frozenset[str]:
        """Names of the devices that have layers."""
        return frozenset(share.device for share in self.shares)
