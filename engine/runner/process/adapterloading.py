"""Adapters loaded for a model: what a file is, a LoRA or a control vector, it says itself."""

from pathlib import Path

from olmkit.engine.errors import ModelUnloadable
from olmkit.engine.gguf.controlvectors import Steered, is_control_vector, read_directions
from olmkit.engine.gguf.header import GgufHeader, read_header
from olmkit.engine.runner.bindings import (
    Adapter,
    ControlVector,
    Model,
    NativeError,
    load_lora,
    take_errors,
)
from olmkit.engine.runner.process.reasons import adapter_failure


def load_adapter(model: Model, path: str) -> Adapter:
    """The adapter of a file, for `model`.

    Raises:
        RequestFailed: BAD_MODEL, the file is none that fits.
    """
    try:
        header = read_header(Path(path), name="the file")
        if is_control_vector(header):
            return _control_vector(model, header)
    except ModelUnloadable as error:
        raise adapter_failure(path, [str(error)]) from error
    take_errors()
    try:
        return load_lora(model, path)
    except NativeError as error:
        raise adapter_failure(path, take_errors()) from error


def _control_vector(model: Model, header: GgufHeader) -> ControlVector:
    width_bytes = 4 * model.width
    numbers = bytearray(width_bytes * max(model.layer_count - 1, 0))
    steered = Steered(
        architecture=model.metadata("general.architecture") or "",
        width=model.width,
        layers=model.layer_count,
    )
    for layer, direction in read_directions(header, steered):
        start = (layer - 1) * width_bytes
        numbers[start : start + width_bytes] = direction
    return ControlVector(bytes(numbers))
