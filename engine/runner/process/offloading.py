"""Layouts of the protocol, carried out on the devices of this process."""

import re
from typing import Final

from olmkit.engine.runner.bindings import NativeError, Offload, add_servers, can_allocate
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.layouts import Layout, SplitMode
from olmkit.engine.runner.protocol import Buffer, FailureKind, Load, Loaded

_REMOTE: Final = re.compile(r"RPC\[(.*)\](?:#\d+)?")
_SPLIT_MODES: Final = {SplitMode.LAYER: 1, SplitMode.ROW: 2, SplitMode.TENSOR: 3}


def offload_of(layout: Layout | None) -> Offload | None:
    """What llama.cpp is told of a layout; None: it decides by itself.

    Raises:
        RequestFailed: tensors are to be split over devices of other machines. Answers are wrong
            there, without an error (seen with two RPC devices and llama.cpp 0c1e570).
    """
    if layout is None:
        return None
    if layout.split_mode is SplitMode.TENSOR and any(map(is_remote, device_names(layout))):
        raise RequestFailed(
            FailureKind.UNSUPPORTED,
            "tensors cannot be split over devices of other machines (OLM_SPLIT_MODE=tensor)",
        )
    return Offload(
        layers=tuple((share.device, share.layers) for share in layout.shares),
        cpu_expert_layers=layout.cpu_expert_layers,
        split_mode=_SPLIT_MODES[layout.split_mode],
    )


def device_names(layout: Layout | None) -> list[str]:
    """The devices that have layers, or parts of all."""
    return [share.device for share in layout.shares] if layout is not None else []


def is_remote(device: str) -> bool:
    """Whether a device, by llama.cpp's name, is one of another machine."""
    return _REMOTE.fullmatch(device) is not None


def connect(names: list[str]) -> None:
    """Reach the devices of other machines among these: a server has one client at a time.

    Raises:
        RequestFailed: one of them cannot be used.
    """
    endpoints = [match[1] for name in names if (match := _REMOTE.fullmatch(name))]
    if not endpoints:
        return
    try:
        problems = add_servers([one for one in dict.fromkeys(endpoints) if one not in _connected])
    except NativeError as error:
        problems = [str(error)]
    if problems:
        raise RequestFailed(FailureKind.DEVICE_LOST, problems[0])
    _connected.update(endpoints)


def prove(request: Load) -> Loaded:
    """Carries out an ALLOC.

    Raises:
        RequestFailed: DEVICE_LOST, or OUT_OF_MEMORY, which names the device.
    """
    connect([buffer.device for buffer in request.proof])
    for buffer in request.proof:
        wanted = buffer.weights_bytes + buffer.kv_bytes + buffer.compute_bytes
        try:
            has_room = can_allocate(buffer.device, wanted)
        except NativeError as error:
            raise RequestFailed(FailureKind.DEVICE_LOST, str(error)) from error
        if not has_room:
            raise RequestFailed(
                FailureKind.OUT_OF_MEMORY,
                f"{buffer.device} does not give {wanted >> 20} MiB",
                device=buffer.device,
            )
    return _proven(request.id, request.proof)


def _proven(request_id: int, buffers: list[Buffer]) -> Loaded:
    return Loaded(
        id=request_id,
        buffers=buffers,
        context_tokens=0,
        trained_context_tokens=0,
        vocabulary_tokens=0,
        embedding_length=0,
        has_encoder_only=False,
        adds_bos=False,
        adds_eos=False,
        bos_token="",
        eos_token="",
        threads=0,
        load_ns=0,
    )


_connected: Final[set[str]] = set()
