"""Quantizing GGUF models: llama.cpp's quantizer in a process of its own.

A crash, a hang or an allocation failure in there ends that process only, and cancelling is
killing it. The result is what `llama-quantize` of the same llama.cpp writes.
"""

import logging
import os
import re
import tempfile
import threading
from pathlib import Path
from typing import Final

from olmkit.engine import childjob
from olmkit.engine.childjob import OnProgress
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.framing import wire_path
from olmkit.engine.gguf.header import read_header
from olmkit.engine.gguf.tensortypes import quantization_name, quantization_number
from olmkit.engine.runner.quantization import Quantization
from olmkit.engine.safemode.safeguard import Safeguard
from olmkit.registry.errors import Cancelled

SOURCE_TYPES: Final = ("F16", "BF16", "F32")
_MODULE: Final = "olmkit.engine.runner.process.quantize_worker"
log = logging.getLogger(__name__)
_MESSAGE: Final = re.compile(r"^.*failed to quantize: ")


def quantize(
    source: Path,
    target: Path,
    type_text: str,
    *,
    guard: Safeguard | None = None,
    threads: int = 0,
    on_progress: OnProgress | None = None,
    cancelled: threading.Event | None = None,
) -> None:
    """Write the GGUF model `source` to `target` in another type; whole or not at all.

    Works in a hidden directory beside `target`, the only thing that a kill leaves behind. Not
    synced to disk: the store does that with what it takes in.
    `threads`: 0 for as many as this process may use. `on_progress` gets bytes of the source done
    and in all, after each tensor. Blocks; for a thread of its own. Where the engine dies of what
    the safe mode cures, the work is done again in that mode; `guard` remembers it.

    Raises:
        EngineUnusable: the engine does not run on this machine.
        ModelNotCreatable: unknown type, a source that is quantized already, or one that
            llama.cpp cannot make the type of (some need an importance matrix).
        ModelUnloadable: the source is no valid GGUF file.
        Cancelled: `cancelled` was set; within a fraction of a second.
    """
    name = quantization_name(type_text)
    header = read_header(source)
    if header.quantization not in SOURCE_TYPES:
        raise ModelNotCreatable(
            "quantization is only supported for F16, BF16 and F32 models",
            hint=f"this one is {header.quantization}: quantize the model it was made from",
        )
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        partial = Path(scratch) / "quantized"
        job = Quantization(
            source=wire_path(source),
            target=wire_path(partial),
            file_type=quantization_number(name),
            threads=threads or len(os.sched_getaffinity(0)),
            tensor_bytes={tensor.name: tensor.size_bytes for tensor in header.tensors},
        )
        try:
            _steadily(job, guard or Safeguard(), on_progress, cancelled, what=header.name)
        except childjob.JobFailed as error:
            raise ModelNotCreatable(_explain(str(error), name)) from error
        except childjob.JobCancelled as error:
            raise Cancelled("quantizing was cancelled") from error
        partial.chmod(0o644)
        os.replace(partial, target)


def _steadily(
    job: Quantization,
    guard: Safeguard,
    on_progress: OnProgress | None,
    cancelled: threading.Event | None,
    *,
    what: str,
) -> None:
    """Carry the job out, in one mode after the other while the engine dies in each."""
    known = began = guard.known()
    while True:
        try:
            childjob.carry_out(
                _MODULE,
                job,
                environ=guard.environment(known.mode),
                on_progress=on_progress,
                cancelled=cancelled,
            )
        except childjob.JobCrashed as error:
            following = guard.after(known, exit_status=error.status, log_tail=error.output)
            if following is None:
                unusable = guard.unusable(what, exit_status=error.status, log_tail=error.output)
                raise unusable or error from error
            log.warning(f"starting the quantizer again in the {following.caveat}")
            known = following
        else:
            break
    if known is not began:
        guard.learn(known)


def _explain(reason: str, name: str) -> str:
    if "imatrix" in reason or "importance matrix" in reason:
        return f"{name} needs an importance matrix, which olm does not use: choose a larger type"
    if "requantizing" in reason:
        return "quantization is only supported for F16, BF16 and F32 models"
    return f"quantizing to {name} failed: {_MESSAGE.sub('', reason)[:1000]}"
