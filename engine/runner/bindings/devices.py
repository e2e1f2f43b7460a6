"""The devices that llama.cpp computes on."""

import ctypes
import enum
from dataclasses import dataclass
from typing import Any, Final

from olmkit.engine.runner.bindings.library import api

_size: Final = ctypes.c_size_t


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
    """ggml's, such as `CPU` or `CUDA0`."""
    description: str
    """The hardware's, such as `NVIDIA H100 80GB HBM3`."""
    kind: DeviceKind
    free_bytes: int
    total_bytes: int


def devices() -> list[Device]:
    """All devices of the engine, in ggml's order; after `initialize`.

    Source: llama.cpp, ggml/include/ggml-backend.h.
    """
    count = _function("ggml_backend_dev_count", _size)
    get = _function("ggml_backend_dev_get", ctypes.c_void_p, _size)
    name = _function("ggml_backend_dev_name", ctypes.c_char_p, ctypes.c_void_p)
    description = _function("ggml_backend_dev_description", ctypes.c_char_p, ctypes.c_void_p)
    kind = _function("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
    pointer = ctypes.POINTER(_size)
    memory = _function("ggml_backend_dev_memory", None, ctypes.c_void_p, pointer, pointer)
    found = []
    for index in range(count()):
        handle, free, total = get(index), _size(), _size()
        memory(handle, ctypes.byref(free), ctypes.byref(total))
        found.append(
            Device(
                name=name(handle).decode(errors="replace"),
                description=description(handle).decode(errors="replace"),
                kind=DeviceKind(kind(handle)),
                free_bytes=free.value,
                total_bytes=total.value,
            )
        )
    return found


def _function(name: str, result: Any, *arguments: Any) -> Any:
    """A function of ggml's C API: libllama's handle finds those of the libraries that it needs."""
    function = api._lib[name]  # a new object, whose types are ours alone
    function.restype, function.argtypes = result, arguments
    return function
