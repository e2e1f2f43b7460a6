"""Safetensors checkpoints to GGUF, with numpy alone.

`convert_directory` for models, `convert_adapter` for LoRA adapters. The result depends on the
files' contents only: the same on every machine. Memory is bounded by blocks of a tensor, not by
the model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from olmkit.engine.create.convert.adapter import (
    CONFIG_NAME,
    adapter_metadata,
    adapter_tensors,
    base_hyperparameters,
)
from olmkit.engine.create.convert.architecture import Architecture
from olmkit.engine.create.convert.architectures.bert import Bert
from olmkit.engine.create.convert.architectures.gemma3 import Gemma3
from olmkit.engine.create.convert.architectures.llama import Llama
from olmkit.engine.create.convert.architectures.mistral import Mistral
from olmkit.engine.create.convert.architectures.phi3 import Phi3
from olmkit.engine.create.convert.architectures.qwen2 import Qwen2
from olmkit.engine.create.convert.architectures.qwen3 import Qwen3
from olmkit.engine.create.convert.checkpoint import Checkpoint, directory_files
from olmkit.engine.create.convert.general import general_metadata
from olmkit.engine.create.convert.hyperparameters import Hyperparameters
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.header import GgufHeader, excess
from olmkit.engine.gguf.writer import Metadata, OnProgress, write_gguf

__all__ = ["ARCHITECTURES", "REVISION", "convert_adapter", "convert_directory", "directory_files"]

REVISION: Final = 1
"""Raised whenever the same checkpoint is to give other bytes; caches carry it in their names."""

ARCHITECTURES: Final[tuple[type[Architecture], ...]] = (
    Bert,
    Gemma3,
    Llama,
    Mistral,
    Phi3,
    Qwen2,
    Qwen3,
)


def convert_directory(
    files: Mapping[str, Path], target: Path, *, on_progress: OnProgress | None = None
) -> None:
    """Write the model made of `files` (names in its directory to paths) to the GGUF `target`.

    `on_progress` gets completed and total bytes of the output; what it raises ends the work and
    leaves no file. Blocks for as long as it takes; for a thread or a process of its own.

    Raises:
        ModelNotCreatable: naming the file and what is wrong with it, or listing the supported
            architectures.
        OSError: `target` cannot be written.
    """
    checkpoint = Checkpoint(files)
    model = _architecture(checkpoint)
    tensors = model.tensors()
    own = {f"{model.name}.{key}": value for key, value in model.parameters().items()}
    if wrong := excess(model.name, own):
        raise ModelNotCreatable(f"config.json describes no model: {wrong}")
    metadata: Metadata = (
        general_metadata(checkpoint, model.name, tensors, model.matrix_type)
        | own
        | model.vocabulary()
    )
    write_gguf(target, metadata, tensors, on_progress=on_progress)


def convert_adapter(
    files: Mapping[str, Path],
    target: Path,
    *,
    base: GgufHeader,
    on_progress: OnProgress | None = None,
) -> None:
    """Write the LoRA adapter made of `files` for the model `base` to the GGUF `target`.

    Otherwise as `convert_directory`.

    Raises:
        ModelNotCreatable: naming the file or tensor and what is wrong with it.
        OSError: `target` cannot be written.
    """
    checkpoint = Checkpoint(files)
    kinds = {kind.name: kind for kind in reversed(ARCHITECTURES)}
    if CONFIG_NAME not in checkpoint:
        raise ModelNotCreatable(f"{CONFIG_NAME} is missing: it says what kind of adapter this is")
    if base.architecture not in kinds:
        raise ModelNotCreatable(
            f"adapters for {base.architecture} models cannot be converted; "
            f"supported are {', '.join(sorted(kinds))}"
        )
    model = kinds[base.architecture](checkpoint, base_hyperparameters(base))
    tensors = adapter_tensors(checkpoint, model, base)
    write_gguf(target, adapter_metadata(checkpoint, base), tensors, on_progress=on_progress)


def _architecture(checkpoint: Checkpoint) -> Architecture:
    if "config.json" not in checkpoint:
        raise ModelNotCreatable(
            "config.json is missing: it says what kind of model this is",
            hint="give the directory with all files of the model, not one of them",
        )
    config = Hyperparameters(checkpoint.find_object("config.json"))
    known = {name: kind for kind in ARCHITECTURES for name in kind.classes}
    named = config.find("architectures")
    names = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    for name in names:
        if name in known:
            return known[name](checkpoint, config)
    found = ", ".join(names)[:200] or "none"
    raise ModelNotCreatable(
        f"config.json: unsupported architecture {found}; supported are {', '.join(sorted(known))}"
    )
