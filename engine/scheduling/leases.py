"""What the pool hands out: leases on loaded models, and what it says of them."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from olmkit.engine.planning.contexts import ContextBy
from olmkit.engine.runner.protocol import Drawing, Loaded
from olmkit.engine.scheduling import bringup
from olmkit.engine.supervision.interface import Runner


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to use a loaded model until the context manager ends."""

    runner: Runner
    loaded: Loaded
    load_ns: int
    """How long the request waited for this lease, loading included."""
    queued_ns: int = 0
    """The part of it in which the model was not being loaded."""

    @property
    def device(self) -> str:
        """Where the weights are, as llama.cpp names its devices, the most of them first."""
        weights: Counter[str] = Counter()
        for buffer in self.loaded.buffers:
            name = buffer.device if bringup.is_on_card(buffer) else "CPU"
            weights[name] += buffer.weights_bytes
        return ",".join(name for name, size_bytes in weights.most_common() if size_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceInfo:
    """One loaded model, as `ps` shows it."""

    name: str
    digest: str
    model_key: str
    state: str
    """`starting`, `ready`, `draining` or `stopping`."""
    size_bytes: int
    """All that the model takes (`Placement`); while it is starting, what was planned."""
    size_vram_bytes: int
    """The part on cards."""
    planned_bytes: int
    """What the model was expected to take; 0 while that is not known."""
    context_tokens: int
    """What one request may have."""
    context_by: ContextBy | None
    """What decided how long that is; None while it is not known."""
    contexts: int
    """Requests of that length that the KV pool has room for."""
    expires_at: datetime | None
    """When it is unloaded if nobody asks for it; None: never. Aware, local time."""
    leases: int
    """Requests that use it now."""
    sequences: int
    """Requests that it decodes side by side."""
    runner: Runner | None
    """None while it is starting."""
    caveat: str
    """What the engine does without on this machine, and why; empty: nothing."""
    notes: tuple[str, ...]
    """One sentence for each way in which this is less than what was asked for."""
    devices: Mapping[str, int]
    """Bytes by device, main memory as `CPU`; empty while it is starting."""
    drawing: Drawing | None = None
    """How next tokens are drawn; None while it is starting, and where none are."""

    @property
    def end_s(self) -> float:
        """`expires_at` in seconds of the epoch; infinite for never."""
        return math.inf if self.expires_at is None else self.expires_at.timestamp()
