"""llama.cpp's C API, as much of it as the runner uses; nothing else imports llama_cpp.

Thin classes over handles: no policy, no protocol. Everything here belongs to the one thread of
the runner. Failures raise `NativeError`; the reason stands in llama.cpp's log lines, which
`take_errors` returns. An assertion inside llama.cpp ends the process: callers keep arguments
in range.
"""

from olmkit.engine.runner.bindings.adapters import (
    Adapter,
    ControlVector,
    LoraAdapter,
    free_adapter,
    load_lora,
)
from olmkit.engine.runner.bindings.breakdown import DeviceBytes, memory_by_device
from olmkit.engine.runner.bindings.context import (
    CARD_STREAMS,
    MOST_SEQUENCES,
    PROCESSOR_STREAMS,
    Batch,
    Context,
    ContextOptions,
    Pooling,
    Streams,
)
from olmkit.engine.runner.bindings.devices import (
    Device,
    DeviceKind,
    can_allocate,
    devices,
    find_devices,
    write_speed,
)
from olmkit.engine.runner.bindings.innerstates import are_available as can_compute_heads
from olmkit.engine.runner.bindings.library import (
    LogLevel,
    NativeError,
    initialize,
    libraries,
    set_log_sink,
    system_info,
    take_errors,
    version,
)
from olmkit.engine.runner.bindings.model import Model, Offload
from olmkit.engine.runner.bindings.quantizer import quantize
from olmkit.engine.runner.bindings.remotedevices import add_servers
from olmkit.engine.runner.bindings.sampler import Candidates, DrySampler, Sampler
from olmkit.engine.runner.bindings.shortlist import Shortlist

__all__ = [
    "CARD_STREAMS",
    "MOST_SEQUENCES",
    "PROCESSOR_STREAMS",
    "Adapter",
    "Batch",
    "Candidates",
    "Context",
    "ContextOptions",
    "ControlVector",
    "Device",
    "DeviceBytes",
    "DeviceKind",
    "DrySampler",
    "LogLevel",
    "LoraAdapter",
    "Model",
    "NativeError",
    "Offload",
    "Pooling",
    "Sampler",
    "Shortlist",
    "Streams",
    "add_servers",
    "can_allocate",
    "can_compute_heads",
    "devices",
    "find_devices",
    "free_adapter",
    "initialize",
    "libraries",
    "load_lora",
    "memory_by_device",
    "quantize",
    "set_log_sink",
    "system_info",
    "take_errors",
    "version",
    "write_speed",
]
