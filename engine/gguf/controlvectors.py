"""Control vectors: directions that are added to what the layers of a model put out.

A file of them is GGUF of the architecture `controlvector` with a float32 tensor for a layer,
`direction.1`, `direction.2` and so on. The first layer, 0, has none; others may be left out, as by
programs that steer the middle layers only. Every file is hostile: it is held against the model
that it is for before a number of it is read, and a layer is read at a time.

Sources: https://github.com/ggml-org/llama.cpp/tree/master/tools/cvector-generator and
common_control_vector_load of https://github.com/ggml-org/llama.cpp/blob/master/common/common.cpp
"""

import math
import re
import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from olmkit.engine.errors import ModelUnloadable
from olmkit.engine.gguf.header import GgufHeader
from olmkit.engine.gguf.tables import Tensor

ARCHITECTURE: Final = "controlvector"
_NAME: Final = re.compile(r"direction\.([1-9][0-9]{0,3})")
_UNSTEERED: Final = frozenset(
    {
        "bert",
        "eurobert",
        "hy_v4",
        "jina-bert-v2",
        "jina-bert-v3",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "plamo2",
        "t5encoder",
    }
)
"""Architectures that llama.cpp computes without vectors, whatever it is given.

Source: llama.cpp, src/models/, those without `build_cvec`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steered:
    """What a control vector must fit: the model that it is for."""

    architecture: str
    width: int
    """Numbers of a layer's output."""
    layers: int


def steered_by_header(header: GgufHeader) -> Steered:
    """The model of a header; 0 for sizes that it does not tell.

    Layers that guess further tokens, behind the model's own, are not steered.
    """
    guessing = header.own_integer("nextn_predict_layers") or 0
    return Steered(
        architecture=header.architecture,
        width=header.embedding_length or 0,
        layers=max((header.block_count or 0) - guessing, 0),
    )


def is_control_vector(header: GgufHeader) -> bool:
    """Whether the file says that it is one."""
    return header.architecture == ARCHITECTURE


def read_directions(header: GgufHeader, model: Steered) -> Iterator[tuple[int, bytes]]:
    """The layers that are steered, each with as many float32 numbers as the model is wide.

    All that the header tells is checked before the first one comes.

    Raises:
        ModelUnloadable: the file is no control vector of this model, or a number is not finite.
    """
    directions = _directions(header, model)
    try:
        with open(header.path, "rb") as file:
            for layer, tensor in sorted(directions.items()):
                file.seek(tensor.offset_bytes)
                raw = file.read(tensor.size_bytes)
                if len(raw) < tensor.size_bytes:
                    raise _failure(header, "the file became shorter while it was read")
                if not all(map(math.isfinite, _numbers(raw))):
                    raise _failure(header, f"{tensor.name} holds numbers that are not finite")
                yield layer, raw
    except OSError as error:
        raise _failure(header, error.strerror or str(error)) from error


def _directions(header: GgufHeader, model: Steered) -> dict[int, Tensor]:
    """The tensors by the layers that they are for."""
    if not is_control_vector(header):
        raise _failure(header, "no control vector")
    if model.architecture in _UNSTEERED:
        raise _failure(header, f"{model.architecture} models take no control vectors")
    most = max(model.layers - 1, 0)
    if len(header.tensors) > most:
        count = len(header.tensors)
        raise _failure(header, f"{count} directions are more than the {most} that the model takes")
    said = header.own_integer("layer_count")
    if not header.tensors:
        raise _failure(header, "the control vector holds no directions")
    if said is not None and said != len(header.tensors):
        raise _failure(header, f"{len(header.tensors)} of {said} directions are there")
    found: dict[int, Tensor] = {}
    for tensor in header.tensors:
        match = _NAME.fullmatch(tensor.name)
        layer = int(match.group(1)) if match else 0
        if not layer or layer in found:
            raise _failure(header, f"the tensor {tensor.name!r} is no direction, or there twice")
        if layer > most:
            raise _failure(header, f"{tensor.name} is behind the model's last layer, {most}")
        if tensor.type_name != "F32" or tensor.shape[:1] != (tensor.elements,):
            raise _failure(header, f"{tensor.name} is no list of float32 numbers")
        if tensor.elements != model.width:
            raise _failure(
                header,
                f"{tensor.name} has {tensor.elements} numbers, the model's layers {model.width}",
            )
        found[layer] = tensor
    return found


def _numbers(raw: bytes) -> Iterable[float]:
    numbers = array("f", raw)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _failure(header: GgufHeader, problem: str) -> ModelUnloadable:
    return ModelUnloadable(f"{header.name}: {problem}", model=header.name)
