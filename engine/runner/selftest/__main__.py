"""The child of the proof: `python -m olmkit.engine.runner.selftest`.

Loads a tiny model, reads a prompt, chooses a token, embeds a text, on the CPU and on whatever
other devices there are; prints one JSON object that says what the engine is. A broken engine ends
this process instead, by a signal, or by an exception whose text is the reason.
"""

import json
import math
import os
import struct
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from olmkit.engine.runner.bindings import (
    Batch,
    Context,
    ContextOptions,
    DeviceKind,
    Model,
    NativeError,
    Pooling,
    devices,
    initialize,
    take_errors,
)
from olmkit.engine.runner.bindings.library import api
from olmkit.engine.runner.selftest.tinymodel import write_tiny_model

_PROMPT: Final = "The engine reads this sentence at once, then again token by token."
_LEAST_LIKENESS: Final = 0.95
_ALL_LAYERS: Final = 99


def main() -> int:
    """Runs the proof; returns the exit status."""
    os.environ["GGML_NO_BACKTRACE"] = "1"
    try:
        initialize()
        found = devices()
        with tempfile.TemporaryDirectory(prefix="olm-selftest-") as folder:
            path = Path(folder, "tiny.gguf")
            write_tiny_model(path)
            _prove(path, gpu_layers=0)
            if any(one.kind in (DeviceKind.GPU, DeviceKind.INTEGRATED_GPU) for one in found):
                _prove(path, gpu_layers=_ALL_LAYERS)
    except NativeError as error:
        sys.stderr.write("; ".join([str(error), *take_errors()[:3]]) + "\n")
        return 1
    answer = {
        "llama_cpp": api.llama_version().decode(errors="replace"),
        "system_info": api.llama_print_system_info().decode(errors="replace").strip(),
        "devices": [
            {"name": one.name, "description": one.description, "kind": one.kind.name.lower()}
            for one in found
        ],
    }
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def _prove(path: Path, *, gpu_layers: int) -> None:
    """Everything that a runner does with a model, once.

    The prompt is read as one batch and token by token, which takes other kernels: where they
    disagree, one of them is wrong.
    """
    model = Model(str(path), gpu_layers=gpu_layers)
    tokens = model.tokenize(_PROMPT, add_special=False, parse_special=False)
    count = len(tokens)
    options = ContextOptions(context_tokens=128, batch_tokens=count, sequences=1, threads=2)
    context = Context(model, options)
    batch = Batch(count)
    last = batch.add(tokens, position=0, sequence=0, outputs=1)
    _decode(context, batch)
    at_once = _finite(context.logits(last))
    context.clear_memory()
    for position, token in enumerate(tokens):
        batch.clear()
        batch.add([token], position=position, sequence=0, outputs=1)
        _decode(context, batch)
    likeness = _cosine(at_once, _finite(context.logits(0)))
    if likeness < _LEAST_LIKENESS:
        raise NativeError(f"a prompt gives other values at once than by tokens ({likeness:.3f})")
    batch.clear()
    batch.add([at_once.index(max(at_once))], position=count, sequence=0, outputs=1)
    _decode(context, batch)
    _finite(context.logits(0))
    context.close()
    context = Context(model, replace(options, pooling=Pooling.MEAN))
    batch.clear()
    batch.add(tokens, position=0, sequence=0, outputs=count)
    _decode(context, batch)
    length = model.embedding_length
    _finite(struct.unpack(f"{length}f", context.pooled_embedding(0, length)))
    context.close()
    model.close()


def _decode(context: Context, batch: Batch) -> None:
    status = context.decode(batch)
    if status != 0:
        raise NativeError(f"a step failed with status {status}")


def _finite(values: Iterable[float]) -> list[float]:
    numbers = list(values)
    if not any(numbers) or not all(map(math.isfinite, numbers)):
        raise NativeError("the model's values are no numbers")
    return numbers


def _cosine(left: list[float], right: list[float]) -> float:
    product = sum(one * other for one, other in zip(left, right, strict=True))
    return product / math.hypot(*left) / math.hypot(*right)


if __name__ == "__main__":
    sys.exit(main())
