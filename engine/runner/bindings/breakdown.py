"""The memory that a model and its context take, by device."""

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from olmkit.engine.runner.bindings.context import Context
from olmkit.engine.runner.bindings.devices import device_name, is_several
from olmkit.engine.runner.bindings.library import api
from olmkit.engine.runner.bindings.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBytes:
    """The memory that a context and its model take on one device."""

    device: str
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    repacked_bytes: int = 0
    """The part of the weights that is kept in another order than the file's."""


class _Tree(ctypes.Structure):
    """A `std::map` of libstdc++: comparator, header node, count."""

    _fields_ = [
        ("comparator", ctypes.c_void_p),
        ("color", ctypes.c_size_t),
        ("root", ctypes.c_void_p),
        ("leftmost", ctypes.c_void_p),
        ("rightmost", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
    ]


class _Node(ctypes.Structure):
    """A node of that map: `{buffer type: {model, context, compute}}`."""

    _fields_ = [
        ("color", ctypes.c_size_t),
        ("parent", ctypes.c_void_p),
        ("left", ctypes.c_void_p),
        ("right", ctypes.c_void_p),
        ("buffer_type", ctypes.c_void_p),
        ("model", ctypes.c_size_t),
        ("context", ctypes.c_size_t),
        ("compute", ctypes.c_size_t),
    ]


def memory_by_device(
    model: Model, context: Context, *, split_over: Sequence[str] = ()
) -> list[DeviceBytes]:
    """Bytes by device, of dry runs too; host buffers of a card count as `CPU`.

    `split_over`: the devices that every tensor has a part on. llama.cpp takes those for one, and
    tells of it what the fullest of them holds: so much counts for each.

    Asks llama.cpp's own breakdown, a C++ function outside of the C API: its tree is walked as
    libstdc++ lays it out (a few nodes leak). Where the library lacks the symbol only the weights
    are known, as `CPU`.

    Source: llama.cpp, src/llama-ext.h, `llama_get_memory_breakdown`.
    """
    breakdown = getattr(api._lib, "_Z26llama_get_memory_breakdownPK13llama_context", None)
    if breakdown is None or not sys.platform.startswith("linux"):
        weights = model.size_bytes
        return [DeviceBytes(device="CPU", weights_bytes=weights, kv_bytes=0, compute_bytes=0)]
    breakdown.argtypes, breakdown.restype = [ctypes.c_void_p], _Tree
    sums: dict[str, list[int]] = {}
    repacked: dict[str, int] = {}
    pending = [breakdown(context.handle).root]
    while pending:
        address = pending.pop()
        if not address:
            continue
        node = _Node.from_address(address)
        pending += [node.left, node.right]
        for name in _device_names(node.buffer_type, split_over):
            device = sums.setdefault(name, [0, 0, 0])
            if name == "CPU" and not _is_host(node.buffer_type):
                repacked[name] = repacked.get(name, 0) + node.model
            for index, size in enumerate((node.model, node.context, node.compute)):
                device[index] += size
    return [
        DeviceBytes(
            device=device,
            weights_bytes=sizes[0],
            kv_bytes=sizes[1],
            compute_bytes=sizes[2],
            repacked_bytes=repacked.get(device, 0),
        )
        for device, sizes in sorted(sums.items())
    ]


def _device_names(buffer_type: int, split_over: Sequence[str]) -> Sequence[str]:
    lib = api._lib
    lib.ggml_backend_buft_get_device.argtypes = [ctypes.c_void_p]
    lib.ggml_backend_buft_get_device.restype = ctypes.c_void_p
    if _is_host(buffer_type):
        return ["CPU"]
    device = lib.ggml_backend_buft_get_device(buffer_type)
    if not device:
        return ["CPU"]
    return split_over if is_several(device) else [device_name(device)]


def _is_host(buffer_type: int) -> bool:
    """Whether tensors lie there as they are in the file, in main memory."""
    is_host = api._lib.ggml_backend_buft_is_host
    is_host.argtypes, is_host.restype = [ctypes.c_void_p], ctypes.c_bool
    return bool(is_host(buffer_type))
