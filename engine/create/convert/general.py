"""The `general.*` metadata, which every architecture has alike."""

import math
import re
from collections.abc import Sequence
from typing import Final

from olmkit.engine.create.convert.checkpoint import Checkpoint
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.writer import GgmlType, Int32, Metadata, OutputTensor

FILE_TYPES: Final = {GgmlType.F32: 0, GgmlType.F16: 1, GgmlType.BF16: 32}
"""llama.cpp's `llama_ftype`."""
QUANTIZATION_VERSION: Final = 2
_SAMPLING: Final = {
    "top_k": ("top_k", True),
    "top_p": ("top_p", False),
    "min_p": ("min_p", False),
    "temperature": ("temp", False),
    "repetition_penalty": ("penalty_repeat", False),
}
"""Field of generation_config.json to key, and whether that is an integer."""
_VERSION: Final = re.compile(r"v\d+(?:\.\d+)*|\d.*")


def general_metadata(
    checkpoint: Checkpoint,
    architecture: str,
    tensors: Sequence[OutputTensor],
    matrix_type: GgmlType,
) -> Metadata:
    """Architecture, name, size and type of the file, recommended sampling.

    The name is the model's id in config.json: the directory's name is not part of the content.
    """
    result: Metadata = {"general.architecture": architecture, "general.type": "model"}
    result |= _sampling(checkpoint)
    result |= _name(checkpoint)
    result["general.size_label"] = size_label(sum(math.prod(item.shape) for item in tensors))
    result["general.file_type"] = FILE_TYPES[matrix_type]
    result["general.quantization_version"] = QUANTIZATION_VERSION
    return result


def _sampling(checkpoint: Checkpoint) -> Metadata:
    """Recommended sampling; none when the file is broken, as it is in some published models."""
    try:
        config = checkpoint.find_object("generation_config.json")
    except ModelNotCreatable:
        return {}
    result: Metadata = {}
    for field, (key, is_integer) in _SAMPLING.items():
        value = config.get(field)
        if isinstance(value, int | float) and abs(value) < 2**31:
            result[f"general.sampling.{key}"] = Int32(value) if is_integer else float(value)
    return result


def _name(checkpoint: Checkpoint) -> Metadata:
    model_id = checkpoint.find_object("config.json").get("_name_or_path")
    if not isinstance(model_id, str) or model_id.count("/") > 1 or model_id[:1] in ("", ".", "/"):
        return {}
    organization, _, name = model_id.rpartition("/")
    result: Metadata = {"general.name": _title(name)} if name else {}
    if organization:
        result["general.organization"] = _title(organization)
    return result


def _title(text: str) -> str:
    words = text.strip().replace("-", " ").split()
    return " ".join(w.title() if w.islower() and not _VERSION.fullmatch(w) else w for w in words)


def size_label(parameters: int) -> str:
    """The number of parameters with two digits at least and a unit: `23M`, `1.2B`."""
    units = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
    limit, suffix = next((unit for unit in units if parameters > unit[0]), units[-1])
    scaled = parameters / limit
    digits = max(2 - len(str(round(scaled)).lstrip("0")), 0)
    return f"{scaled:.{digits}f}{suffix}"
