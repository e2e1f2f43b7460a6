"""The devices that llama.cpp computes on."""

import ctypes
import enum
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from olmkit.engine.runner.bindings.library import NativeError, api

_size: Final = ctypes.c_size_t
_ROUNDS: Final = 4
"""Of a measurement; the first one wakes the device."""


class DeviceKind(enum.IntEnum):
    """ggml's kinds of device."""

    CPU = 0
    GPU = 1
    INTEGRATED_GPU = 2
    ACCELERATOR = 3
    """Works along with the CPU, as BLAS does."""
    META = 4
    """Several others taken for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device of the engine."""

    name: str
    """`device_name`."""
    description: str
    """The hardware's, such as `NVIDIA H100 80GB HBM3`."""
    kind: DeviceKind
    free_bytes: int
    total_bytes: int
    backend: str
    """ggml's name of the backend: `CUDA`, `Vulkan`, `RPC`."""
    bus_id: str
    """The address on the PCI bus, `0000:c1:00.0`; empty where the backend does not tell."""


class _Capabilities(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_bool)
        for name in ("is_async", "host_buffer", "from_host_pointer", "events", "mmap")
    ]


class _Properties(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", _size),
        ("memory_total", _size),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("capabilities", _Capabilities),
        # Room for what a later llama.cpp appends: it writes, we only lend the memory.
        ("appended", ctypes.c_uint8 * 64),
    ]


def devices() -> list[Device]:
    """All devices of the engine, in ggml's order; after `initialize`.

    Asking a card for its memory starts its driver in this process, which takes memory of the card
    as long as the process lives.

    Source: llama.cpp, ggml/include/ggml-backend.h.
    """
    return [_described(handle) for handle in _handles()]


def device_name(handle: int) -> str:
    """ggml's name of a device, such as `CPU` or `CUDA0`; of another machine's `RPC[host:port]`.

    ggml counts those in the order in which a process met them, which says nothing to another one;
    the second device of a server is `RPC[host:port]#1`.
    """
    name: str = _text("ggml_backend_dev_name", handle)
    if not _is_remote(handle):
        return name
    endpoint = _text("ggml_backend_dev_description", handle)
    own = [one for one in _handles() if _is_remote(one)]
    same = [one for one in own if _text("ggml_backend_dev_description", one) == endpoint]
    number = same.index(handle) if handle in same else 0
    return f"RPC[{endpoint}]" + (f"#{number}" if number else "")


def is_several(handle: int) -> bool:
    """Whether it stands for several devices, among which every tensor is divided."""
    kind = function("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
    return bool(kind(handle) == DeviceKind.META)


def find_devices(names: Sequence[str]) -> list[int]:
    """The handles of the devices of those names, in their order.

    Raises:
        NativeError: there is no device of that name.
    """
    by_name = {device_name(handle): handle for handle in _handles()}
    for wanted in names:
        if wanted not in by_name:
            raise NativeError(f"there is no device {wanted}")
    return [by_name[wanted] for wanted in names]


def can_allocate(device: str, size_bytes: int) -> bool:
    """Whether the device gives that much memory now, in blocks as large as it gives any.

    All of it is freed again at once.

    Raises:
        NativeError: there is no such device.
    """
    (handle,) = find_devices([device])
    with _allocated(handle, size_bytes) as blocks:
        return blocks is not None


def write_speed(device: str, size_bytes: int) -> float | None:
    """Bytes a second at which the device fills its own memory, about as fast as it reads it.

    None: it has not so much free, or it is in another machine, which nobody waits for.

    Raises:
        NativeError: there is no such device.
    """
    (handle,) = find_devices([device])
    if _is_remote(handle):
        return None
    clear = function("ggml_backend_buffer_clear", None, ctypes.c_void_p, ctypes.c_uint8)
    with _allocated(handle, size_bytes) as blocks:
        if blocks is None:
            return None
        best_s = float("inf")
        for value in range(_ROUNDS):
            began_s = time.perf_counter()
            for block in blocks:
                clear(block, value)
            best_s = min(best_s, time.perf_counter() - began_s)
        return size_bytes / best_s


@contextmanager
def _allocated(handle: int, size_bytes: int) -> Iterator[list[int] | None]:
    """Memory of a device until the end, in blocks as large as it gives any; None: it gives less."""
    buffer_type = function("ggml_backend_dev_buffer_type", ctypes.c_void_p, ctypes.c_void_p)
    largest = function("ggml_backend_buft_get_max_size", _size, ctypes.c_void_p)
    allocate = function("ggml_backend_buft_alloc_buffer", ctypes.c_void_p, ctypes.c_void_p, _size)
    free = function("ggml_backend_buffer_free", None, ctypes.c_void_p)
    kind = buffer_type(handle)
    block_bytes = max(1, largest(kind))
    blocks: list[int] = []
    try:
        while size_bytes > 0 and (block := allocate(kind, min(size_bytes, block_bytes))):
            blocks.append(block)
            size_bytes -= block_bytes
        yield blocks if size_bytes <= 0 else None
    finally:
        for block in blocks:
            free(block)


def cpu_buffer_type() -> int:
    """The handle of main memory as a place for tensors."""
    return int(function("ggml_backend_cpu_buffer_type", ctypes.c_void_p)())


def _handles() -> list[int]:
    count = function("ggml_backend_dev_count", _size)
    get = function("ggml_backend_dev_get", ctypes.c_void_p, _size)
    return [get(index) for index in range(count())]


def _described(handle: int) -> Device:
    get_properties = function(
        "ggml_backend_dev_get_props", None, ctypes.c_void_p, ctypes.POINTER(_Properties)
    )
    found = _Properties()
    get_properties(handle, ctypes.byref(found))
    return Device(
        name=device_name(handle),
        description=(found.description or b"").decode(errors="replace"),
        kind=DeviceKind(found.type),
        free_bytes=found.memory_free,
        total_bytes=found.memory_total,
        backend=_backend_name(handle),
        bus_id=(found.device_id or b"").decode(errors="replace"),
    )


def _backend_name(handle: int) -> str:
    """ggml's name of the backend; empty of several devices taken for one, which belong to none."""
    if is_several(handle):
        return ""
    registry = function("ggml_backend_dev_backend_reg", ctypes.c_void_p, ctypes.c_void_p)
    return _text("ggml_backend_reg_name", registry(handle))


def _is_remote(handle: int) -> bool:
    return _backend_name(handle) == "RPC"


def _text(name: str, handle: int) -> str:
    text: bytes | None = function(name, ctypes.c_char_p, ctypes.c_void_p)(handle)
    return (text or b"").decode(errors="replace")


def function(name: str, result: Any, *arguments: Any) -> Any:
    """A function of ggml's C API: libllama's handle finds those of the libraries that it needs."""
    function = api._lib[name]  # a new object, whose types are ours alone
    function.restype, function.argtypes = result, arguments
    return function
